// Goal: what the Debian package holds is enough for a cluster: three nodes, a switchover and the death of a host, where neither Bun
// nor Node is to be found; and nothing of where it was built is in it.
// Method: the package is built and unpacked; its executable runs with a PATH that has every program but the runtimes.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import { buildExecutable, buildPackage, type Executable } from "../harness/executable.ts";
import { until } from "../harness/wait.ts";

const PRODUCT = resolve(import.meta.dir, "../..");
const LIST_RUNS = 15;
/** Issue: ctl list, from the start of its process. */
const LIST_WITHIN_MS = 150;
let executable: Executable;

beforeAll(() => {
  executable = buildExecutable(buildPackage);
  process.env["MATRIARCH_TEST_EXECUTABLE"] = executable.path;
}, 600_000);

afterAll(async () => {
  await TestCluster.stopAll();
  delete process.env["MATRIARCH_TEST_EXECUTABLE"];
  executable.remove();
});

/** Of the unpacked package. */
const root = () => dirname(dirname(dirname(executable.path)));

describe("the Debian package", () => {
  test("has the executable, its units and the pages, readable for all and writable for none but root", () => {
    const units = ["matriarch.service", "matriarch@.service", "matriarch-pgbouncer.service", "matriarch-pgbouncer@.service"];
    const wanted = ["usr/bin/matriarch", ...units.map((unit) => `lib/systemd/system/${unit}`)];
    for (const path of [...wanted, "usr/share/doc/matriarch/README.md", "usr/share/doc/matriarch/copyright"]) {
      expect([path, statSync(join(root(), path)).mode & 0o777]).toEqual([path, path === "usr/bin/matriarch" ? 0o755 : 0o644]);
    }
    const links = readdirSync(join(root(), "usr/share/doc/matriarch/docs"));
    expect(links).toContain("install.md");
  });

  test("its executable does not know where it was built", () => {
    expect(readFileSync(executable.path).includes(`${PRODUCT}/lib`)).toBe(false);
  });

  test.skipIf(!existsSync("/usr/bin/systemd-analyze"))("systemd understands its units", () => {
    const units = join(root(), "lib/systemd/system");
    const folder = join(root(), "verified");
    mkdirSync(folder);
    for (const unit of readdirSync(units)) {
      // The executable is not installed here: the unit names it where it is.
      const text = readFileSync(join(units, unit), "utf8").replaceAll("=/usr/bin/matriarch", `=${executable.path}`);
      const path = join(folder, unit);
      writeFileSync(path, text);
      const checked = spawnSync("systemd-analyze", ["verify", path], { encoding: "utf8" });
      expect(`${checked.stdout}${checked.stderr}`.split("\n").filter((line) => line.includes("matriarch"))).toEqual([]);
    }
    writeFileSync(join(folder, "wrong.service"), "[Service]\nExecStart=/usr/bin/true matriarch\nKillMode=sometimes\n");
    expect(spawnSync("systemd-analyze", ["verify", join(folder, "wrong.service")], { encoding: "utf8" }).stderr).toContain("sometimes");
  });

  test("its quickstart brings up a cluster that ctl moves, and says what to type here", () => {
    const top = mkdtempSync(join(tmpdir(), "quickstart."));
    chmodSync(top, 0o711);
    const data = join(top, "q");
    const quickstart = (...words: readonly string[]) => executable.run(["quickstart", "--data", data, ...words]);
    try {
      expect(quickstart("psql")).toMatchObject({
        status: 1,
        text: expect.stringContaining(`start one: matriarch quickstart --data ${data}\n`),
      });
      const started = quickstart("--detach", "--ports", "21150");
      expect(started.text).toContain(`matriarch quickstart --data ${data} stop`);
      expect(started.text).not.toContain("scripts/");
      expect(started.status).toBe(0);
      expect(quickstart("psql", "-Atqc", "create table herd (name text); insert into herd values ('Echo')")).toEqual({
        status: 0,
        text: "",
      });
      const ctl = (...words: readonly string[]) => executable.run(["ctl", "-c", join(data, "run/node1/node1.yml"), ...words]);
      expect(ctl("switchover", "--force")).toMatchObject({ status: 0, text: expect.stringContaining("Successfully switched over") });
      expect(quickstart("psql", "-Atqc", "select name from herd")).toEqual({ status: 0, text: "Echo\n" });
    } finally {
      const stopped = quickstart("stop");
      rmSync(top, { recursive: true, force: true });
      expect(stopped.status).toBe(0);
    }
  }, 240_000);

  test("three nodes form a cluster, hand over, and outlive a host, by nothing but the executable", async () => {
    await TestCluster.with({ store: "raft", start: false }, async (cluster) => {
      for (const node of cluster.nodes) node.start(executable.environment);
      const leader = await cluster.untilHealthy();
      const [heir] = cluster.others(leader);
      if (heir === undefined) throw new Error("three nodes");
      const ctl = (...words: readonly string[]) => executable.run(["ctl", "-c", heir.configPath, ...words]);
      for (const node of cluster.nodes) {
        const programs = node.processes().map(({ pid }) => readlinkSync(`/proc/${pid}/exe`));
        expect(programs.filter((program) => program === executable.path)).toHaveLength(1);
        expect(programs.filter((program) => /\/(bun|node|deno)[^/]*$/.test(program))).toEqual([]);
        expect(await node.status()).toMatchObject(node === leader ? { role: "primary", fencing: "process" } : { role: "replica" });
      }
      const moved = ctl("switchover", "demo", "--leader", leader.name, "--candidate", heir.name, "--force");
      expect(moved).toMatchObject({ status: 0, text: expect.stringContaining("Successfully switched over") });
      expect(await cluster.untilHealthy()).toBe(heir);
      const times = Array.from({ length: LIST_RUNS }, () => {
        const began = performance.now();
        expect(ctl("list").status).toBe(0);
        return performance.now() - began;
      }).sort((a, b) => a - b);
      console.log(
        `figure: ctl list of the executable over Raft: ${Math.round(times[LIST_RUNS >> 1] ?? 0)} ms (limit ${LIST_WITHIN_MS}), n=${LIST_RUNS}`,
      );
      await heir.killHost();
      const next = await cluster.untilLeader({ among: cluster.others(heir) });
      heir.start(executable.environment);
      expect(await cluster.untilHealthy()).toBe(next);
      await until(
        "all members stream",
        () =>
          (JSON.parse(executable.run(["ctl", "-c", next.configPath, "list", "-f", "json"]).text) as { State: string }[]).filter(
            ({ State }) => State === "streaming",
          ).length === 2,
        { withinMs: 30_000 },
      );
    });
  }, 180_000);
});
