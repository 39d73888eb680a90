// What a shell is told may come next, and that the lines for the shell are such.

import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { runCtl } from "../../../../lib/cli/ctl/program.ts";
import { bar } from "../../../../lib/cli/ctl/progress.ts";
import { sizeText } from "../../../../lib/model/size-text.ts";
import { scriptedTerminal } from "./scripted-terminal.ts";

async function proposed(...words: readonly string[]): Promise<readonly string[]> {
  const terminal = scriptedTerminal();
  expect(await runCtl(["complete", "--", ...words], terminal)).toBe(0);
  expect(terminal.said.complaints).toBe("");
  return terminal.said.out.split("\n").filter((word) => word !== "");
}

describe("completion", () => {
  test("proposes commands, without those that only shells call", async () => {
    expect(await proposed("re")).toEqual(["reinit", "reload", "remove", "restart", "restore", "resume"]);
    const all = await proposed("");
    expect(all).toContain("switchover");
    expect(all).not.toContain("complete");
    expect(await proposed("-c", "node.yml", "sw")).toEqual(["switchover"]);
  });

  test("proposes the options of the command, and the values of an option that has few", async () => {
    expect(await proposed("switchover", "--ca")).toEqual(["--candidate"]);
    expect(await proposed("list", "-f", "")).toEqual(["pretty", "tsv", "json", "yaml", "yml"]);
    expect(await proposed("restart", "--role", "st")).toEqual(["standby-leader", "standby"]);
  });

  test("proposes nothing, and says nothing, where members are asked for and no cluster is at hand", async () => {
    expect(await proposed("switchover", "--candidate", "")).toEqual([]);
    expect(await proposed("-d", "consul://127.0.0.1:1", "restart", "demo", "")).toEqual([]);
    expect(await proposed("flush", "demo", "sw")).toEqual(["switchover"]);
  });

  test.each(["bash", "zsh", "fish"])("the lines for %s call ctl back", async (shell) => {
    const terminal = scriptedTerminal();
    expect(await runCtl(["completion", shell, "--name", "mctl"], terminal)).toBe(0);
    expect(terminal.said.out).toContain("mctl complete -- ");
    // The others may not be here.
    if (shell === "bash") expect(spawnSync("bash", ["-n"], { input: terminal.said.out }).status).toBe(0);
    expect(await runCtl(["completion", "tcsh"], scriptedTerminal())).toBe(2);
  });
});

describe("a bar", () => {
  test("is as full as the copy, and no fuller", () => {
    expect(bar(0, 4)).toBe("[....]");
    expect(bar(50, 4)).toBe("[##..]");
    expect(bar(130, 4)).toBe("[####]");
    expect([sizeText(512), sizeText(2_969_567_232)]).toEqual(["512 B", "2.8 GB"]);
  });
});
