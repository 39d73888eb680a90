// Owns `ctl version`: our own version, and what the members of a cluster run.

import type { Command } from "commander";
import { COMPATIBLE_PATRONI_VERSION, PRODUCT_NAME, PRODUCT_VERSION } from "../../../model/product.ts";
import { EXIT } from "../../../runtime/exit-codes.ts";
import type { PeerDocument } from "../../../runtime/peer-document.ts";
import { ANSWERS_WITHIN } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { CtlRefusal } from "../refusal.ts";

export function addVersion({ command, run, program }: CommandHost): void {
  const self = command("version [cluster] [members...]", "print the version, with a cluster's name also those of its members");
  self.action(async (cluster: string | undefined, members: readonly string[], _flags: unknown, own: Command) => {
    const first = `${PRODUCT_NAME} ctl ${PRODUCT_VERSION}, compatible with patronictl version ${COMPATIBLE_PATRONI_VERSION}\n`;
    program.configureOutput().writeOut?.(first);
    // Without a cluster nothing has to be configured.
    if (cluster === undefined) return;
    await run(own, async (context) => {
      const { out, complain } = context.terminal;
      const { view } = await context.read(context.scopeOf(cluster));
      for (const name of members) {
        if (!view.members.some((member) => member.name === name)) throw new CtlRefusal(`${name} is not a member of cluster ${cluster}`);
      }
      const chosen = view.members.filter((member) => members.length === 0 || members.includes(member.name));
      out("\n");
      const deadline = context.within(ANSWERS_WITHIN);
      const answers = await Promise.all(
        chosen.map(async ({ name, api_url }) => ({
          name,
          status: api_url === undefined ? null : await context.peers.status(api_url, deadline),
        })),
      );
      for (const { name, status } of answers) {
        if (status?.ok) out(`${name}: ${versionsOf(status.value)}\n`);
        else complain(`${name}: no answer (${status === null ? "it publishes no api_url" : status.error.message})\n`);
      }
      return answers.every(({ status }) => status?.ok === true) ? EXIT.ok : EXIT.failed;
    });
  });
}

function versionsOf(document: PeerDocument): string {
  const product = document.product === null ? "" : ` (${document.product.name} ${document.product.version})`;
  return `Patroni ${document.version ?? "unknown"} PostgreSQL ${postgresVersion(document.serverVersion)}${product}`;
}

/** 150018 → `15.18` */
function postgresVersion(number: number | null): string {
  return number === null ? "unknown" : `${Math.floor(number / 10_000)}.${number % 10_000}`;
}
