// Owns `ctl upgrade --check`: looks at a node before a major upgrade of PostgreSQL. It performs no upgrade.

import { type Command, Option } from "commander";
import { formatJson } from "../../../core/json-text.ts";
import { EXIT } from "../../../runtime/exit-codes.ts";
import type { CommandHost } from "../program.ts";

interface UpgradeFlags {
  readonly toBinDir: string;
  readonly mode: "link" | "copy";
  readonly format: "pretty" | "json";
}

export function addUpgrade({ command, runAlone }: CommandHost): void {
  command("upgrade [node.yml]", "look at a node before a major upgrade of PostgreSQL, and say what stands against it")
    .requiredOption("--check", "only look: there is nothing else that it does")
    .requiredOption("--to-bin-dir <folder>", "programs of the new version, e.g. /usr/lib/postgresql/15/bin")
    .addOption(new Option("--mode <mode>", "what pg_upgrade would do with the files").choices(["link", "copy"]).default("link"))
    .addOption(new Option("-f, --format <format>", "pretty or json").choices(["pretty", "json"]).default("pretty"))
    .action((file: string | undefined, flags: UpgradeFlags, self: Command) =>
      runAlone(self, async ({ terminal, configFile }) => {
        const { preflight } = await import("../../upgrade/preflight.ts");
        const { findingsText } = await import("../../doctor/finding.ts");
        const { env, clock } = terminal;
        const findings = await preflight({ path: file ?? configFile, env, clock, newBinDir: flags.toBinDir, mode: flags.mode });
        terminal.out(flags.format === "json" ? `${formatJson(findings)}\n` : findingsText(findings));
        return findings.some(({ verdict }) => verdict === "fault") ? EXIT.failed : EXIT.ok;
      }),
    );
}
