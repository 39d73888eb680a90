// Owns `ctl remove`: takes everything that the DCS knows of a cluster away. The data directories stay. It always asks:
// there is no --force.

import type { Command } from "commander";
import { EXIT } from "../../../runtime/exit-codes.ts";
import { leaderOf, orRefuse } from "../context.ts";
import type { Format } from "../formats.ts";
import { GROUP_WANTED } from "../group-choice.ts";
import type { CommandHost } from "../program.ts";
import { askPlain } from "../prompt.ts";
import { CtlRefusal } from "../refusal.ts";
import { formatOption } from "./list.ts";

const AWARE = "Yes I am aware";

export function addRemove({ command, run }: CommandHost): void {
  command("remove [cluster]", "remove a cluster from the DCS")
    .addOption(formatOption("pretty"))
    .action((cluster: string | undefined, flags: { readonly format: Format }, self: Command) =>
      run(self, async (context) => {
        const { terminal } = context;
        const parts = await context.readAll(context.scopeOf(cluster));
        const [first] = parts;
        if (first === undefined) throw new Error("readAll always gives a cluster");
        if (context.group === null && first.group !== null) throw new CtlRefusal(GROUP_WANTED);
        context.list(parts, { format: flags.format, extended: false, names: "plain" });
        const name = await askPlain(terminal, "Please confirm the cluster name to remove");
        if (name !== first.scope) throw new CtlRefusal("Cluster names specified do not match");
        const aware = await askPlain(
          terminal,
          `You are about to remove all information in DCS for ${first.scope}, please type: "${AWARE}"`,
        );
        if (aware !== AWARE) throw new CtlRefusal(`You did not exactly type "${AWARE}"`);
        for (const part of parts) {
          const leader = leaderOf(part);
          if (leader === null) continue;
          const of = part.group === null ? "" : ` of group ${part.group}`;
          const question = `This cluster currently is healthy. Please specify the leader name${of} to continue`;
          if ((await askPlain(terminal, question)) !== leader.name)
            throw new CtlRefusal("You did not specify the current leader of the cluster");
        }
        const store = context.clusterStore(first.scope, context.group);
        orRefuse(await store.deleteCluster(context.storeDeadline()));
        return EXIT.ok;
      }),
    );
}
