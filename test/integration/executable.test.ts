// Goal: one file is the whole product: a node runs from it where neither Bun nor Node nor the source is to be found.
// Method: the executable that `bun run build` makes, with a PATH that has every program of this machine but the runtimes.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { COMPATIBLE_PATRONI_VERSION, PRODUCT_VERSION } from "../../lib/model/product.ts";
import { ENGINE_SETTINGS } from "../../lib/runtime/engine-settings.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { Tree } from "../harness/cluster-node.ts";
import { ConsoleStandIn } from "../harness/console-stand-in.ts";
import { buildExecutable, type Executable } from "../harness/executable.ts";
import { until } from "../harness/wait.ts";

let executable: Executable;

beforeAll(() => {
  executable = buildExecutable();
  process.env["MATRIARCH_TEST_EXECUTABLE"] = executable.path;
}, 120_000);

afterAll(async () => {
  await TestCluster.stopAll();
  delete process.env["MATRIARCH_TEST_EXECUTABLE"];
  executable.remove();
});

describe("the executable", () => {
  test("says its version, what it can do, and what it cannot", () => {
    const version = { status: 0, text: `Matriarch ${PRODUCT_VERSION} (compatible with Patroni ${COMPATIBLE_PATRONI_VERSION})\n` };
    expect(executable.run(["--version"])).toEqual(version);
    expect(executable.run(["supervisor", "--version"])).toEqual(version);
    expect(executable.run(["--help"])).toMatchObject({ status: 0, text: expect.stringContaining("  ctl ") });
    expect(executable.run(["toString"])).toMatchObject({ status: 2, text: expect.stringContaining("there is no program toString") });
    expect(executable.run([])).toMatchObject({ status: 2 });
  });

  test("runs a node with its member of the Raft and its guard, tells of a postmaster that dies, and lists it", async () => {
    await TestCluster.with({ store: "raft", nodes: 1, start: false }, async (cluster) => {
      const node = cluster.node(0);
      node.start(executable.environment);
      await cluster.untilHealthy();
      const programs = node.processes().map(({ pid }) => readlinkSync(`/proc/${pid}/exe`));
      expect(programs.filter((program) => program === executable.path)).toHaveLength(1);
      expect(programs.filter((program) => /\/(bun|node)[^/]*$/.test(program))).toEqual([]);
      // The same process, started anew: it would be a restart to who looks at its pid.
      const environment = readFileSync(`/proc/${node.pid}/environ`, "utf8").split("\0");
      expect(environment).toEqual(expect.arrayContaining(Object.entries(ENGINE_SETTINGS).map(([name, value]) => `${name}=${value}`)));
      // Without the thread that waits for its exit the supervisor would poll, and say so.
      expect(node.log).not.toContain("by polling");
      expect(await node.status()).toMatchObject({ fencing: "process" });
      const before = node.postmasterPid();
      node.killPostmaster();
      await until("another postmaster", () => ![before, null].includes(node.postmasterPid()), { withinMs: 60_000 });
      await cluster.untilHealthy();
      const doctor = executable.run(["ctl", "doctor", "-f", "json", node.configPath]);
      const found = JSON.parse(doctor.text) as { subject: string; verdict: string }[];
      // How fast this machine's disk is just now is no claim.
      expect(found.filter(({ subject, verdict }) => verdict === "fault" && !subject.startsWith("disk"))).toEqual([]);
      expect(found.filter(({ verdict }) => verdict === "fine").map(({ subject }) => subject)).toEqual(
        expect.arrayContaining(["supervisor", "postgresql", "raft", "timing", "fencing"]),
      );
      expect(doctor.text).not.toContain("secret");
      const listed = executable.run(["ctl", "-c", node.configPath, "list", "-f", "json"]);
      expect(JSON.parse(listed.text)).toMatchObject([{ Member: "node1", Role: "Leader", State: "running" }]);
      await leadsAPooler(cluster, executable);
    });
  }, 120_000);
});

/** PgBouncer's console is a stand-in: the worker, its guard and its files are what is shown here. */
async function leadsAPooler(cluster: TestCluster, product: Executable): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "pooler-"));
  const console = await ConsoleStandIn.start(() => null);
  const path = join(folder, "pooler.yml");
  const lines = (): string => (existsSync(join(folder, "databases.ini")) ? readFileSync(join(folder, "databases.ini"), "utf8") : "");
  const write = (changes: Tree): void => {
    const pgbouncer = {
      port: console.port,
      username: "keeper",
      sslmode: "disable",
      databases_file: join(folder, "databases.ini"),
      ...changes,
    };
    writeFileSync(path, stringify({ scope: cluster.scope, ...cluster.storeClient.section, pgbouncer }), { mode: 0o600 });
  };
  write({ name: "pool1", databases: ["app"] });
  const log = openSync(join(folder, "log"), "a");
  const environment = { ...product.environment, HOME: folder };
  const worker = spawn(product.path, ["pgbouncer", path], { cwd: folder, env: environment, stdio: ["ignore", log, log] });
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  const says = (words: string): boolean => readFileSync(join(folder, "log"), "utf8").includes(words);
  try {
    const port = cluster.node(0).place.postgresPort;
    await until("the lines lead to the leader", () => lines().includes(`app = host=127.0.0.1 port=${port}`), { withinMs: 60_000 });
    // Only a worker whose guard watches registers.
    await until("it is registered", () => cluster.key("poolers/pool1"), { withinMs: 60_000 });
    write({ name: "pool1", databases: ["app"], pause_limit: "long" });
    worker.kill("SIGHUP");
    await until("a broken file changes nothing", () => says("the configuration stays as it was"), { withinMs: 60_000 });
    write({ name: "pool2", databases: ["other"] });
    worker.kill("SIGHUP");
    await until("a changed file is taken over", () => lines().includes(`other = host=127.0.0.1 port=${port}`), { withinMs: 60_000 });
    await until("under its new name", () => cluster.key("poolers/pool2"), { withinMs: 60_000 });
    expect(await cluster.key("poolers/pool1")).toBeNull();
    expect(says("the configuration was loaded again")).toBe(true);
    worker.kill("SIGTERM");
    expect(await ended).toBe(0);
  } finally {
    worker.kill("SIGKILL");
    closeSync(log);
    await console.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
