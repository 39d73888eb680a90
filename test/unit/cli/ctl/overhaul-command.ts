// Owns running `ctl upgrade` and `ctl restore` themselves for a test: over a DCS that the test holds in its hands, with a terminal of its own.
// Knows no answer.

import { Command } from "commander";
import { addRestore } from "../../../../lib/cli/ctl/commands/restore.ts";
import { addUpgrade } from "../../../../lib/cli/ctl/commands/upgrade.ts";
import type { CtlContext } from "../../../../lib/cli/ctl/context.ts";
import type { CommandHost } from "../../../../lib/cli/ctl/program.ts";
import type { CtlTerminal } from "../../../../lib/cli/ctl/terminal.ts";
import type { Cluster } from "../../../../lib/model/cluster.ts";
import type { StoreError } from "../../../../lib/model/errors.ts";
import type { RestoreRequest } from "../../../../lib/model/restore.ts";
import { ok, type Result } from "../../../../lib/model/result.ts";
import { ms, type Revision } from "../../../../lib/model/units.ts";
import type { UpgradeRequest } from "../../../../lib/model/upgrade.ts";

/** As far as the command goes. */
export interface UpgradeValues {
  setUpgradeValue(value: Omit<UpgradeRequest, "revision">, expected: Revision | null): Promise<Result<Revision, StoreError>>;
  initialize?(options: { readonly systemIdentifier: string }): Promise<Result<Revision, StoreError>>;
}

/** As far as the command goes. */
export interface RestoreValues {
  setRestoreValue(value: Omit<RestoreRequest, "revision">, expected: Revision | null): Promise<Result<Revision, StoreError>>;
}

interface Given<Values> {
  /** What the DCS holds by then. */
  readonly cluster: () => Cluster;
  readonly values: Values;
  readonly terminal: CtlTerminal;
  /** What a member answers to a GET of this path; 200 without an obstacle where nothing is given. */
  readonly answer?: (path: string) => Result<{ readonly status: number; readonly text: string }, never>;
}

/** Resolves to why it refused; null where it did not. */
export async function runUpgrade(words: readonly string[], given: Given<UpgradeValues>): Promise<string | null> {
  return await run(addUpgrade, ["upgrade", ...words], given);
}

/** As runUpgrade. */
export async function runRestore(words: readonly string[], given: Given<RestoreValues>): Promise<string | null> {
  return await run(addRestore, ["restore", ...words], given);
}

async function run(
  add: (host: CommandHost) => void,
  words: readonly string[],
  { answer, cluster, terminal, values }: Given<UpgradeValues | RestoreValues>,
): Promise<string | null> {
  const read = async () => ({ scope: "demo", group: null, store: { values }, cluster: cluster() });
  const bounds = { storeDeadline: () => ({ deadline: ms(0) }), within: () => ms(Number.MAX_SAFE_INTEGER) };
  const peers = {
    send: async (_method: string, _url: string, path: string) => answer?.(path) ?? ok({ status: 200, text: '{"obstacle":null}' }),
  };
  const context = { terminal, read, readGroup: read, scopeOf: () => "demo", peers, ...bounds } as unknown as CtlContext;
  const program = new Command("ctl").exitOverride();
  const host = {
    command: (name: string) => program.command(name).exitOverride(),
    run: async (_self: Command, action: (given: CtlContext) => Promise<unknown>) => void (await action(context)),
  } as unknown as CommandHost;
  add(host);
  return await program.parseAsync([...words], { from: "user" }).then(
    () => null,
    (error: unknown) => String(error),
  );
}
