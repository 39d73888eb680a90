// Goal: the quickstart brings up a cluster that takes writes, and leaves nothing behind however it ends.
// Method: the real command with real servers in a folder of its own; what runs is read from /proc.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { membersOf } from "../../lib/cli/quickstart/processes.ts";
import { type QuickstartState, readState } from "../../lib/cli/quickstart/state.ts";
import { cases } from "../harness/times.ts";

const product = resolve(import.meta.dir, "../..");
const ports = ["--ports", "21050"];

let top: string;
let data: string;
/** The demonstration takes as long as all the others: it has a place and ports of its own, and runs beside them. */
let demoData: string;
let demo: Promise<Done>;
beforeAll(() => {
  top = mkdtempSync(join(tmpdir(), "quickstart."));
  chmodSync(top, 0o711);
  data = join(top, "q");
  demoData = join(top, "demo");
  demo = beside(demoData, "--detach", "--demo", "--ports", "21350");
});
afterEach(() => {
  quickstart("stop");
});
afterAll(async () => {
  await demo;
  quickstartIn(demoData, "stop");
  rmSync(top, { recursive: true, force: true });
}, 240_000);

interface Done {
  readonly status: number | null;
  readonly text: string;
}

function commandLine(folder: string, words: readonly string[]): readonly string[] {
  return ["run", join(product, "scripts/quickstart.ts"), "--data", folder, ...words];
}

function quickstart(...words: readonly string[]): Done {
  return quickstartIn(data, ...words);
}

function quickstartIn(folder: string, ...words: readonly string[]): Done {
  const done = spawnSync(process.execPath, commandLine(folder, words), { encoding: "utf8" });
  return { status: done.status, text: done.stdout + done.stderr };
}

async function beside(folder: string, ...words: readonly string[]): Promise<Done> {
  const child = spawn(process.execPath, commandLine(folder, words), { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (part: Buffer) => {
      text += part.toString();
    });
  const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { status, text };
}

function inForeground(): ChildProcess {
  return spawn(process.execPath, ["run", join(product, "scripts/quickstart.ts"), "--data", data, ...ports], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

/** Resolves when the output holds the words; rejects when the process ends before. */
function untilSays(child: ChildProcess, words: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (part: Buffer) => {
      text += part.toString();
      if (text.includes(words)) resolve();
    });
    child.once("exit", () => reject(new Error(`it ended before saying "${words}":\n${text}`)));
  });
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once("exit", (code) => resolve(code)));
}

function processesOf(state: QuickstartState) {
  return membersOf([], { environment: `QUICKSTART_RUN_ID=${state.runId}`, folder: join(data, "run") });
}

function stateNow(): QuickstartState {
  const state = readState(data);
  if (state === null) throw new Error("there is no state file");
  return state;
}

describe("the quickstart", () => {
  test("three nodes take writes, a second run attaches, kept data comes back, and stop removes everything", () => {
    const started = quickstart("--detach", ...ports);
    expect(started.text).toContain("target_session_attrs=read-write");
    expect(started.status).toBe(0);
    const state = stateNow();
    expect(statSync(data).mode & 0o007).toBe(0);
    expect(statSync(join(data, "pgpass")).mode & 0o777).toBe(0o600);
    expect(
      quickstart("psql", "-Atqc", "create table herd (name text); insert into herd values ('Echo'); select count(*) from herd"),
    ).toEqual({ status: 0, text: "1\n" });
    const again = quickstart();
    expect(again.text).toContain("running already");
    expect(again.status).toBe(0);
    expect(stateNow().nodes).toEqual(state.nodes);
    expect(quickstart("logs", "node2").status).toBe(0);
    expect(quickstart("stop", "--keep").status).toBe(0);
    expect(processesOf(state)).toEqual([]);
    expect(quickstart("status").status).toBe(1);
    expect(quickstart("--detach").status).toBe(0);
    expect(quickstart("psql", "-Atqc", "select name from herd")).toEqual({ status: 0, text: "Echo\n" });
    const later = stateNow();
    expect(quickstart("stop").status).toBe(0);
    expect(processesOf(later)).toEqual([]);
    expect(existsSync(data)).toBe(false);
  }, 240_000);

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "%s in the middle of the start leaves nothing running and no data",
    async (signal) => {
      const child = inForeground();
      await untilSays(child, "node2 started");
      const state = stateNow();
      child.kill(signal);
      expect(await ended(child)).toBe(130);
      expect(processesOf(state)).toEqual([]);
      expect(existsSync(data)).toBe(false);
    },
    120_000,
  );

  test("--consul starts one beside the nodes, and ends it", () => {
    const started = quickstart("--detach", "--consul", "--nodes", "1", ...ports);
    expect(started.text).toContain("Consul answers on");
    expect(started.status).toBe(0);
    const state = stateNow();
    expect(state.consul?.process).not.toBeNull();
    expect(quickstart("logs", "consul").status).toBe(0);
    expect(quickstart("psql", "-Atqc", "select 1")).toEqual({ status: 0, text: "1\n" });
    expect(quickstart("stop").status).toBe(0);
    expect(processesOf(state)).toEqual([]);
  }, 180_000);

  test.each(cases(["node1 started", "node3 started"], ["Running until"]))(
    'killed outright after "%s", stop ends what it left',
    async (words) => {
      const child = inForeground();
      await untilSays(child, words);
      const state = stateNow();
      child.kill("SIGKILL");
      await ended(child);
      expect(processesOf(state).length).toBeGreaterThan(0);
      expect(quickstart("stop").status).toBe(0);
      expect(processesOf(state)).toEqual([]);
      expect(existsSync(data)).toBe(false);
    },
    180_000,
  );

  test("stop ends a quickstart in the foreground, which then removes its data itself", async () => {
    const child = inForeground();
    await untilSays(child, "Running until");
    const state = stateNow();
    const end = ended(child);
    const stopped = quickstart("stop");
    expect(stopped.status).toBe(0);
    expect(await end).toBe(0);
    expect(processesOf(state)).toEqual([]);
    expect(existsSync(data)).toBe(false);
  }, 180_000);

  test("--demo shows a takeover with its time, and the killed node comes back", async () => {
    const shown = await demo;
    expect(shown.text).toMatch(/demo: node\d takes writes \d+\.\d s after the kill/);
    expect(shown.text).toMatch(/demo: of \d+ rows acknowledged before it, \d+ are there/);
    expect(shown.text).toContain("complete again");
    expect(shown.status).toBe(0);
    const streaming = "select count(*) from pg_stat_replication where state = 'streaming'";
    expect(quickstartIn(demoData, "psql", "-Atqc", streaming).text).toBe("2\n");
    expect(quickstartIn(demoData, "start", "--demo", "--nodes", "2").status).not.toBe(0);
  }, 240_000);
});
