// Owns the summary of a full run that is committed under docs/evidence/: what was run, on which commit and machine, and
// what came out. It must not run tests.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, release, totalmem } from "node:os";
import { join } from "node:path";
import { findPostgres } from "../../lib/cli/quickstart/programs.ts";
import type { StageResult } from "./run-stage.ts";

/** Writes docs/evidence/DATE-full.md below `product`; resolves to its path there. A second run of a day replaces the first. */
export function writeEvidence(
  product: string,
  options: { readonly results: readonly StageResult[]; readonly seconds: number; readonly begunAt: Date },
): string {
  const { results, seconds, begunAt } = options;
  const sum = (pick: (result: StageResult) => number) => results.reduce((total, result) => total + pick(result), 0);
  const rows = results.map((result) => {
    const remark = result.remark ?? (result.stage.seeds > 0 ? result.lastLine : "");
    return `| ${result.stage.name} | ${result.passed} | ${result.failed} | ${result.skipped} | ${result.seconds.toFixed(1)} | ${remark.replaceAll("|", "\\|")} |`;
  });
  const text = [
    `# Full test run of ${begunAt.toISOString().slice(0, 10)}`,
    "",
    `- Commit: ${commitOf(product)}`,
    `- Command: \`scripts/test --full\`, begun ${begunAt.toISOString()}, ${Math.round(seconds)} s`,
    `- Result: ${sum((result) => result.passed)} passed, ${sum((result) => result.failed)} failed, ${sum((result) => result.skipped)} skipped`,
    `- Simulated seeds: ${sum((result) => result.stage.seeds)}`,
    `- Machine: ${machine()}`,
    `- Software: ${software()}`,
    "",
    "| stage | passed | failed | skipped | seconds | remark |",
    "|---|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
  const path = `docs/evidence/${begunAt.toISOString().slice(0, 10)}-full.md`;
  mkdirSync(join(product, "docs/evidence"), { recursive: true });
  writeFileSync(join(product, path), text);
  return path;
}

function commitOf(product: string): string {
  // Root may look at a checkout that belongs to somebody else.
  const git = (...args: string[]) => spawnSync("git", ["-c", `safe.directory=${product}`, ...args], { cwd: product, encoding: "utf8" });
  const head = git("rev-parse", "HEAD");
  if (head.status !== 0) return "unknown (no git here)";
  const changed = git("status", "--porcelain", "--untracked-files=no").stdout.trim();
  return head.stdout.trim() + (changed === "" ? "" : ` with ${changed.split("\n").length} changed files`);
}

function machine(): string {
  const model = /^model name\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "processor unknown";
  return `${availableParallelism()} cores (${model}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`;
}

function software(): string {
  const first = (program: string, ...args: string[]) =>
    (spawnSync(program, args, { encoding: "utf8" }).stdout ?? "").split("\n")[0] || `no ${program}`;
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "Linux";
  return `${system}, Bun ${Bun.version}, ${first(join(findPostgres(), "postgres"), "--version")}`;
}
