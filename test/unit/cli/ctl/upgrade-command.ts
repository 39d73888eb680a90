// Owns running `ctl upgrade` itself for a test: over a DCS that the test holds in its hands, with a terminal of its own. Knows no answer.

import { Command } from "commander";
import { addUpgrade } from "../../../../lib/cli/ctl/commands/upgrade.ts";
import type { CtlContext } from "../../../../lib/cli/ctl/context.ts";
import type { CommandHost } from "../../../../lib/cli/ctl/program.ts";
import type { CtlTerminal } from "../../../../lib/cli/ctl/terminal.ts";
import type { Cluster } from "../../../../lib/model/cluster.ts";
import type { StoreError } from "../../../../lib/model/errors.ts";
import type { Result } from "../../../../lib/model/result.ts";
import { ms, type Revision } from "../../../../lib/model/units.ts";
import type { UpgradeRequest } from "../../../../lib/model/upgrade.ts";

/** As far as the command goes. */
export interface UpgradeValues {
  setUpgradeValue(value: Omit<UpgradeRequest, "revision">, expected: Revision | null): Promise<Result<Revision, StoreError>>;
  initialize?(options: { readonly systemIdentifier: string }): Promise<Result<Revision, StoreError>>;
}

/** Resolves to why it refused; null where it did not. `cluster`: what the DCS holds by then. */
export async function runUpgrade(
  words: readonly string[],
  { cluster, values, terminal }: { readonly cluster: () => Cluster; readonly values: UpgradeValues; readonly terminal: CtlTerminal },
): Promise<string | null> {
  const read = async () => ({ scope: "demo", group: null, store: { values }, cluster: cluster() });
  const bounds = { storeDeadline: () => ({ deadline: ms(0) }), within: () => ms(Number.MAX_SAFE_INTEGER) };
  const context = { terminal, read, readGroup: read, scopeOf: () => "demo", ...bounds } as unknown as CtlContext;
  const program = new Command("ctl").exitOverride();
  const host = {
    command: (name: string) => program.command(name).exitOverride(),
    run: async (_self: Command, action: (given: CtlContext) => Promise<unknown>) => void (await action(context)),
  } as unknown as CommandHost;
  addUpgrade(host);
  return await program.parseAsync(["upgrade", ...words], { from: "user" }).then(
    () => null,
    (error: unknown) => String(error),
  );
}
