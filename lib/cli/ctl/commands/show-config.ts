// Owns `ctl show-config`: the dynamic configuration as it stands in the DCS.

import type { Command } from "commander";
import { EXIT } from "../../../runtime/exit-codes.ts";
import { yamlText } from "../formats.ts";
import type { CommandHost } from "../program.ts";
import { CtlRefusal } from "../refusal.ts";

export function addShowConfig({ command, run }: CommandHost): void {
  command("show-config [cluster]", "print the dynamic configuration").action(
    (cluster: string | undefined, _flags: unknown, self: Command) =>
      run(self, async (context) => {
        const read = await context.read(context.scopeOf(cluster));
        if (read.cluster.config === null) throw new CtlRefusal(`The config key does not exist in the cluster ${read.scope}`);
        context.terminal.out(`${yamlText(read.cluster.config.data)}\n`);
        return EXIT.ok;
      }),
  );
}
