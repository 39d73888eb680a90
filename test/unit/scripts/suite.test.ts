// Owns the tests of the inside of scripts/test: what is run in which tier, and how results are counted.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { identify } from "../../../lib/cli/quickstart/processes.ts";
import { countsOf, countsOfWords, FailureLines, runStage } from "../../../scripts/suite/run-stage.ts";
import { type Stage, stagesOf } from "../../../scripts/suite/stages.ts";

const product = resolve(import.meta.dir, "../../..");

describe("stages", () => {
  test("the default tier leaves the long tests out, the full one has them and more seeds", () => {
    const names = (tier: "default" | "full") => stagesOf(product, { tier, only: null }).map((stage) => stage.name);
    expect(names("default").filter((name) => name.startsWith("test/full"))).toEqual([]);
    expect(names("full")).toEqual(expect.arrayContaining(names("default").filter((name) => name.startsWith("test/"))));
    expect(names("default").slice(0, 2)).toEqual(["format and lint", "types"]);
  });

  test("the full tier tells each file of servers to leave no case out, the default tier does not", () => {
    const told = (tier: "default" | "full") =>
      stagesOf(product, { tier, only: null })
        .filter(({ name }) => /^test\/(integration|conformance|full)\//.test(name))
        .map(({ environment }) => environment["MATRIARCH_TEST_TIER"]);
    expect(new Set(told("full"))).toEqual(new Set(["full"]));
    expect(new Set(told("default"))).toEqual(new Set([undefined]));
  });

  test("what runs a second time over the Raft is told apart by its name and its environment, and says the same file", () => {
    for (const tier of ["default", "full"] as const) {
      const again = stagesOf(product, { tier, only: null }).filter(({ name }) => name.endsWith(" over Raft"));
      expect(again.length).toBeGreaterThanOrEqual(5);
      for (const { name, command, environment } of again) {
        expect(environment["MATRIARCH_TEST_STORE"]).toBe("raft");
        expect(command.at(-1)).toBe(`./${name.replace(" over Raft", "")}`);
      }
    }
  });

  test("the full tier runs every file with a cluster over both stores", () => {
    const files = stagesOf(product, { tier: "full", only: "test/" }).map(({ name }) => name);
    const onceOnly = files.filter(
      (name) => /^test\/(integration|full)\//.test(name) && !name.endsWith(" over Raft") && !files.includes(`${name} over Raft`),
    );
    const aboutOneStore =
      /\/(consul-|raft-|patroni[.-]|pgbouncer-|mixed-|migration|proxies|quickstart|executable|package|secrets|deno|move-dcs)/;
    expect(onceOnly.filter((name) => !aboutOneStore.test(name))).toEqual([
      "test/integration/fuzz.test.ts",
      "test/integration/guard.test.ts",
      "test/integration/postgres-config.test.ts",
      "test/integration/postgres-files.test.ts",
      "test/integration/postgres-process.test.ts",
      "test/full/upgrade-rehearsal.test.ts",
    ]);
    expect(files).toContain("test/integration/operations.test.ts over Raft");
    expect(files).toContain("test/full/random-faults.test.ts over Raft");
  });

  test("a pattern chooses test files and leaves out everything else", () => {
    const [only, ...others] = stagesOf(product, { tier: "default", only: "unit/scripts/suite" });
    expect(others).toEqual([]);
    expect(only?.command.at(-1)).toBe("./test/unit/scripts/suite.test.ts");
  });
});

describe("counts", () => {
  test("a report's outermost element counts", () => {
    const report =
      '<?xml version="1.0"?>\n<testsuites name="bun test" tests="9" assertions="24" failures="2" skipped="1" time="0.01">\n  <testsuite name="a" tests="4" failures="0">';
    expect(countsOf(report)).toEqual({ passed: 6, failed: 2, skipped: 1 });
  });

  test("without a report the closing lines count", () => {
    expect(countsOfWords("(fail) x\n\n 12 pass\n 1 skip\n 3 fail\n 30 expect() calls\n")).toEqual({ passed: 12, failed: 3, skipped: 1 });
    expect(countsOfWords("")).toEqual({ passed: 0, failed: 0, skipped: 0 });
  });
});

test("two stages run beside each other only where they start servers of their own, or need nothing but time", () => {
  const stages = stagesOf(product, { tier: "full", only: null });
  const servers = stages.filter(({ lane }) => lane === "servers");
  expect(servers.length).toBeGreaterThan(10);
  for (const { name } of servers) expect(name).toMatch(/^test\/(conformance|simulation|integration|full)\//);
  const computing = stages.filter(({ lane }) => lane === "computing");
  expect(computing.filter(({ seeds }) => seeds === 0).map(({ name }) => name)).toEqual(["test/unit"]);
  expect(computing.filter(({ seeds }) => seeds > 0)).toHaveLength(3);
});

test("of each failed test one line says its title, the error and the place", () => {
  const failures = new FailureLines();
  failures.take("error: of one that passed\n(pass) a > b [1.00ms]\n12 |  expect(1)\nerror: not within 5");
  failures.take(' ms: "x"\n  more\n      at until (/tree/test/harness/wait.ts:25:45)\n');
  failures.take(
    "      at async <anonymous> (/tree/test/integration/a.test.ts:112:18)\n      at b (/tree/test/integration/a.test.ts:1:1)\n",
  );
  failures.take("(fail) c > d: e [40017.02ms]\n(fail) beforeAll\n");
  failures.take("error: expect(received).toBe(expected)\n\nExpected: 0\nReceived: 130\n(fail) f [1.00ms]\n");
  expect(failures.lines).toEqual([
    'c > d: e: not within 5 ms: "x": a.test.ts:112',
    "beforeAll",
    "f: expect(received).toBe(expected), Expected: 0, Received: 130",
  ]);
});

describe("a stage", () => {
  const run = async (code: string, withinMs = 60_000, leaks: () => readonly string[] = () => []) => {
    const temporary = mkdtempSync(join(tmpdir(), "suite-unit."));
    const stage: Stage = { name: "x", kind: "one", command: ["bun", "-e", code], seeds: 0, lane: "alone", environment: {} };
    const mark = { environment: `TEST_RUN_ID=${temporary}`, folder: temporary };
    try {
      const print = (data: Buffer, to: "stdout" | "stderr"): void => {
        process[to].write(data);
      };
      return await runStage(stage, { product, temporary, mark, signal: new AbortController().signal, withinMs, ports: null, leaks, print });
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  };

  test("exit status 0 is one passed test, any other one failed", async () => {
    expect(await run("process.exit(0)")).toMatchObject({ passed: 1, failed: 0, remark: null });
    expect(await run("process.exit(3)")).toMatchObject({ passed: 0, failed: 1 });
  });

  test("one of whose processes showed a secret fails, and says where", async () => {
    const told = await run("process.exit(0)", 60_000, () => ["the command line of psql"]);
    expect(told).toMatchObject({ passed: 0, failed: 1, remark: "a secret stands where it must not: the command line of psql" });
  });

  test("one that does not end is ended and fails", async () => {
    expect(await run("await Bun.sleep(60_000)", 300)).toMatchObject({ passed: 0, failed: 1, remark: "not finished after 0 s" });
  });

  test("what it left running in a session of its own is ended", async () => {
    const code =
      'const c = require("node:child_process").spawn("sleep", ["60"], { detached: true, stdio: "ignore" }); c.unref(); console.log(c.pid)';
    const result = await run(code);
    expect(result).toMatchObject({ passed: 1, failed: 0 });
    expect(Number(result.lastLine)).toBeGreaterThan(1);
    expect(identify(Number(result.lastLine))).toBeNull();
  });
});
