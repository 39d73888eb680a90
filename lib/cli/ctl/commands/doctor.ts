// Owns `ctl doctor`: looks at a node's configuration and at everything around it before it is started, or when something is wrong.

import { type Command, InvalidArgumentError } from "commander";
import { formatJson } from "../../../core/json-text.ts";
import { EXIT } from "../../../runtime/exit-codes.ts";
import type { CommandHost } from "../program.ts";

export function addDoctor({ command, runAlone }: CommandHost): void {
  const self = command("doctor [node.yml]", "look at a node's configuration and surroundings, and say what it takes to mend each fault");
  self.option("-f, --format <format>", "pretty or json", format, "pretty");
  self.action(async (file: string | undefined, flags: { readonly format: "pretty" | "json" }, own: Command) => {
    await runAlone(own, async ({ terminal, configFile }) => {
      const { examine } = await import("../../doctor/examine.ts");
      const { findingsText } = await import("../../doctor/finding.ts");
      const findings = await examine({ path: file ?? configFile, env: terminal.env, clock: terminal.clock });
      terminal.out(flags.format === "json" ? `${formatJson(findings)}\n` : findingsText(findings));
      return findings.some(({ verdict }) => verdict === "fault") ? EXIT.failed : EXIT.ok;
    });
  });
}

function format(text: string): "pretty" | "json" {
  if (text !== "pretty" && text !== "json") throw new InvalidArgumentError("write pretty or json");
  return text;
}
