// Goal: what an operator hangs around a node happens as Patroni does it: the watchdog's orders, callbacks, before_stop, pre_promote, the
// history, the log, and what systemd is told.
// Method: two nodes whose commands write what they were called with; a FIFO stands for the watchdog's device, a socket for systemd.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { give } from "../../lib/cli/quickstart/folder.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { NotifySocket } from "../harness/notify-socket.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 90_000;
/** A cycle or two, and what an event still has to do on a busy machine. */
const SOON_MS = 40_000;
const ACTIONS = ["on_start", "on_stop", "on_restart", "on_reload", "on_role_change"];

let cluster: TestCluster;
/** What each node's watchdog was told so far, by node. */
const device = new Map<string, string>();
const readers: ChildProcess[] = [];
/** What stands for systemd, by node. */
const manager = new Map<string, NotifySocket>();

beforeAll(async () => {
  const extra = (_index: number, name: string) => ({
    watchdog: { mode: "required", driver: "testing", device: "watchdog", safety_margin: 5 },
    postgresql: {
      callbacks: Object.fromEntries(ACTIONS.map((action) => [action, `sh ./record.sh ${name}`])),
      before_stop: "sh ./hook.sh before_stop",
      pre_promote: "sh ./hook.sh pre_promote",
    },
  });
  cluster = await TestCluster.shared({ nodes: 2, start: false, extra });
  for (const node of cluster.nodes) {
    writeCommand(node, "record.sh", 'echo "$@" >> calls');
    writeCommand(node, "hook.sh", 'echo "$1" >> hooks; test ! -e "refuse-$1"');
    listenTo(node);
  }
  for (const node of cluster.nodes) {
    const socket = new NotifySocket(join(node.place.folder, "notify"));
    manager.set(node.name, socket);
    node.start({ NOTIFY_SOCKET: socket.path });
  }
  await cluster.untilHealthy();
}, LIMIT_MS);

afterAll(async () => {
  await TestCluster.stopAll();
  for (const reader of readers) reader.kill();
  for (const socket of manager.values()) socket.close();
});

function fifoOf(node: ClusterNode): string {
  return join(node.place.folder, "watchdog");
}

function writeCommand(node: ClusterNode, file: string, text: string): void {
  const path = join(node.place.folder, file);
  writeFileSync(path, `${text}\n`);
  give(path, node.place.user);
}

function listenTo(node: ClusterNode): void {
  const made = spawnSync("mkfifo", [fifoOf(node)]);
  if (made.status !== 0) throw new Error(`mkfifo: ${made.stderr}`);
  give(fifoOf(node), node.place.user);
  device.set(node.name, "");
  // Opened for reading and writing, so that it never ends: each supervisor opens and closes its own side.
  const reader = spawn("sh", ["-c", 'exec cat <>"$1"', "sh", fifoOf(node)], { stdio: ["ignore", "pipe", "inherit"] });
  reader.stdout.on("data", (part: Buffer) => device.set(node.name, `${device.get(node.name)}${part}`));
  readers.push(reader);
}

async function roles(): Promise<{ readonly leader: ClusterNode; readonly replica: ClusterNode }> {
  const leader = await cluster.untilHealthy();
  const [replica] = cluster.others(leader);
  if (replica === undefined) throw new Error("there is no replica");
  return { leader, replica };
}

function orders(node: ClusterNode): string {
  return device.get(node.name) ?? "";
}

function linesOf(node: ClusterNode, file: "calls" | "hooks"): readonly string[] {
  const path = join(node.place.folder, file);
  return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
}

/** The node's `log` section from now on; null: none. */
async function logTo(node: ClusterNode, section: Record<string, unknown> | null): Promise<void> {
  node.editConfig((config) => {
    if (section === null) delete config["log"];
    else config["log"] = section;
  });
  node.kill("SIGHUP");
}

function jsonLines(file: string): readonly Readonly<Record<string, unknown>>[] {
  // What follows the last newline is still being written.
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

function claim(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

describe("the watchdog", () => {
  claim("is opened by the leader alone with ttl - safety_margin, pinged with each renewal, set anew where ttl changes", async () => {
    const { leader, replica } = await roles();
    await until("the leader's orders", () => /^Ctimeout=15\n1+/.test(orders(leader)), { withinMs: SOON_MS });
    expect(orders(replica)).toBe("");
    const before = orders(leader).length;
    await until("another ping", () => orders(leader).length > before, { withinMs: SOON_MS });
    await cluster.patchConfig({ ttl: 30 });
    await until("25 s", () => orders(leader).includes("Ctimeout=25\n"), { withinMs: SOON_MS });
    const changed = orders(leader).length;
    await cluster.patchConfig({ ttl: 20 });
    await until("15 s again", () => orders(leader).slice(changed).includes("Ctimeout=15\n1"), { withinMs: SOON_MS });
  });

  claim("has its timeout by the safety_margin of the node's file, also where a reload has changed that", async () => {
    const { leader } = await roles();
    for (const [margin, timeout] of [
      [8, 12],
      [5, 15],
    ]) {
      const from = orders(leader).length;
      leader.editConfig((config) => Object.assign(config["watchdog"] as Record<string, unknown>, { safety_margin: margin }));
      leader.kill("SIGHUP");
      await until(`${timeout} s`, () => orders(leader).slice(from).includes(`Ctimeout=${timeout}\n1`), { withinMs: SOON_MS });
    }
  });

  claim("is closed in pause and opened again after it", async () => {
    const { leader } = await roles();
    await cluster.patchConfig({ pause: true });
    await until("disarmed", () => orders(leader).endsWith("V"), { withinMs: SOON_MS });
    await cluster.patchConfig({ pause: null });
    await until("armed", () => /VCtimeout=15\n1[^V]*$/.test(orders(leader)), { withinMs: SOON_MS });
  });
});

describe("callbacks and hooks", () => {
  claim("a start, a reload and a restart are told with action, role and scope, in the folder the supervisor was started in", async () => {
    const { leader, replica } = await roles();
    expect(linesOf(leader, "calls")[0]).toBe(`${leader.name} on_start primary demo`);
    expect(linesOf(replica, "calls")[0]).toBe(`${replica.name} on_start replica demo`);
    expect((await replica.api("/restart", { method: "POST", body: {}, timeoutMs: SOON_MS })).status).toBe(200);
    await until("on_restart", () => linesOf(replica, "calls").includes(`${replica.name} on_restart replica demo`), { withinMs: SOON_MS });
    const reloads = () => linesOf(replica, "calls").filter((line) => line === `${replica.name} on_reload replica demo`).length;
    const before = reloads();
    replica.editConfig((config) => {
      const postgresql = config["postgresql"] as { parameters: Record<string, unknown> };
      postgresql.parameters["work_mem"] = "7MB";
    });
    replica.kill("SIGHUP");
    await until("on_reload", () => reloads() > before, { withinMs: SOON_MS });
    const told = reloads();
    await cluster.patchConfig({ postgresql: { parameters: { maintenance_work_mem: "17MB" } } });
    await until("on_reload after PATCH /config", () => reloads() > told, { withinMs: SOON_MS });
    await cluster.untilHealthy();
  });

  claim(
    "a switchover: before_stop on the old leader, pre_promote on the new one, on_role_change on both, the watchdog moves along",
    async () => {
      const { leader: old, replica: next } = await roles();
      const answer = await old.api("/switchover", {
        method: "POST",
        body: { leader: old.name, candidate: next.name },
        timeoutMs: SOON_MS,
      });
      expect(answer).toMatchObject({ status: 200, text: `Successfully switched over to "${next.name}"` });
      await cluster.untilHealthy();
      expect(linesOf(old, "hooks").at(-1)).toBe("before_stop");
      expect(linesOf(next, "hooks").at(-1)).toBe("pre_promote");
      await until("told the new leader", () => linesOf(next, "calls").includes(`${next.name} on_role_change primary demo`), {
        withinMs: SOON_MS,
      });
      await until("told the old leader", () => linesOf(old, "calls").includes(`${old.name} on_role_change replica demo`), {
        withinMs: SOON_MS,
      });
      await until("closed by the old leader", () => orders(old).endsWith("V"), { withinMs: SOON_MS });
      // A renewal that was answered late makes the timeout shorter for once.
      await until("opened by the new one", () => /^Ctimeout=15\n1[^V]*$/.test(orders(next)), { withinMs: SOON_MS });
      const [line, ...more] = (await next.api("/history")).json as readonly (readonly unknown[])[];
      expect(more).toEqual([]);
      expect(line?.[0]).toBe(1);
      expect(line?.[1]).toBeGreaterThan(0);
      expect(line?.[2]).toBe("no recovery target specified");
      expect(new Date(String(line?.[3])).getTime()).toBeGreaterThan(Date.now() - LIMIT_MS);
      expect(line?.[4]).toBe(next.name);
    },
  );

  claim("a pre_promote that refuses gives the lock to somebody else, and says so", async () => {
    const { leader, replica: other } = await roles();
    writeCommand(other, "refuse-pre_promote", "");
    const answer = await leader.api("/switchover", {
      method: "POST",
      body: { leader: leader.name, candidate: other.name },
      timeoutMs: LIMIT_MS,
    });
    expect(answer.status).not.toBe(200);
    expect(other.log).toContain("pre_promote");
    expect((await cluster.untilHealthy()).name).toBe(leader.name);
    await until("closed again", () => orders(other).endsWith("V"), { withinMs: SOON_MS });
  });
});

describe("a watchdog that is required and gone", () => {
  claim("demotes its leader, and somebody else leads; once it is not required any more that node may lead again", async () => {
    const { leader: old, replica: next } = await roles();
    rmSync(join(next.place.folder, "refuse-pre_promote"), { force: true });
    await cluster.patchConfig({ pause: true });
    await until("disarmed", () => orders(old).endsWith("V"), { withinMs: SOON_MS });
    renameSync(fifoOf(old), `${fifoOf(old)}-away`);
    const from = old.log.length;
    await cluster.patchConfig({ pause: null });
    await old.untilLogs("Demoting self because watchdog could not be activated", { withinMs: SOON_MS, from });
    await until("the other one leads", async () => (await cluster.leader()) === next, { withinMs: SOON_MS });
    await cluster.untilHealthy();
    expect((await old.status())["watchdog_failed"]).toBe(true);
    const switchTo = (candidate: ClusterNode, leader: ClusterNode) => {
      const body = { leader: leader.name, candidate: candidate.name };
      return leader.api("/switchover", { method: "POST", body, timeoutMs: LIMIT_MS });
    };
    expect((await switchTo(old, next)).status).toBe(412);
    renameSync(`${fifoOf(old)}-away`, fifoOf(old));
    for (const mode of ["automatic", "required"]) {
      old.editConfig((config) => Object.assign(config["watchdog"] as Record<string, unknown>, { mode }));
      expect((await old.api("/reload", { method: "POST" })).status).toBe(202);
      await until("it is not missed", async () => (await old.status())["watchdog_failed"] === undefined, { withinMs: SOON_MS });
    }
    const before = orders(old).length;
    expect((await switchTo(old, next)).status).toBe(200);
    await until("opened again", () => /^Ctimeout=\d+\n1/.test(orders(old).slice(before)), { withinMs: SOON_MS });
    expect(old.log).toContain(`INFO: Watchdog test harness at watchdog activated with 15 second timeout, timing slack 13 seconds`);
  });
});

describe("the log", () => {
  claim("has Patroni's heartbeat of leader and replica, and the owner of the lock where it changes", async () => {
    const { leader, replica } = await roles();
    const line = (level: string, text: string) => new RegExp(`^\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d,\\d{3} ${level}: ${text}$`, "m");
    await leader.untilLogs(line("INFO", `no action\\. I am \\(${leader.name}\\), the leader with the lock`), { withinMs: SOON_MS });
    await replica.untilLogs(
      line("INFO", `no action\\. I am \\(${replica.name}\\), a secondary, and following a leader \\(${leader.name}\\)`),
      {
        withinMs: SOON_MS,
      },
    );
    expect(replica.log).toMatch(line("INFO", `Lock owner: ${leader.name}; I am ${replica.name}`));
    expect(leader.log).toMatch(line("INFO", "promoted self to leader by acquiring session lock"));
  });

  claim("each option of its section counts after a reload", async () => {
    const { replica } = await roles();
    // Heartbeats are waited for.
    await cluster.patchConfig({ loop_wait: 1 });
    const inDir = async (name: string, section: Record<string, unknown>) => {
      const dir = join(replica.place.folder, name);
      mkdirSync(dir);
      give(dir, replica.place.user);
      await logTo(replica, { ...section, dir });
      const file = join(dir, "patroni.log");
      await until(`${file} has lines`, () => existsSync(file) && readFileSync(file, "utf8") !== "", { withinMs: SOON_MS });
      return file;
    };
    const file = await inDir("json", {
      type: "json",
      format: ["message", { asctime: "@timestamp", levelname: "level" }, "name"],
      dateformat: "day %j",
      static_fields: { app: "demo" },
      loggers: { "patroni.api": "DEBUG" },
      mode: "0640",
      file_size: 1000,
      file_num: 2,
    });
    expect(statSync(file).mode & 0o777).toBe(0o640);
    await until("a heartbeat in JSON", () => jsonLines(file).find((line) => String(line["message"]).startsWith("no action. ")), {
      withinMs: SOON_MS,
    }).then((line) => {
      expect(line).toMatchObject({ level: "INFO", name: "matriarch.ha", app: "demo" });
      expect(line["@timestamp"]).toMatch(/^day \d{3}$/);
    });
    await until("a line for each request, in two rotated files", async () => (await replica.api("/patroni")) && existsSync(`${file}.2`), {
      withinMs: SOON_MS,
      everyMs: 1,
    });
    for (let request = 0; request < 20; request++) await replica.api("/patroni");
    expect(existsSync(`${file}.3`)).toBe(false);
    // A rotation in between renames what is read.
    const requests = await until(
      "the lines of requests",
      () => [file, `${file}.1`, `${file}.2`].flatMap(jsonLines).filter(({ name }) => name === "matriarch.api"),
      { withinMs: SOON_MS },
    );
    expect(requests[0]).toMatchObject({ level: "DEBUG", message: expect.stringContaining('"GET /patroni" 200 - latency: ') });

    const quiet = await inDir("plain", {
      format: "%(name)s %(levelname)-8s| %(message)s",
      level: "WARNING",
      loggers: { "patroni.ha": "INFO" },
      deduplicate_heartbeat_logs: true,
    });
    const beat = `matriarch.ha INFO    | no action. I am (${replica.name}), a secondary, and following a leader`;
    const count = () => readFileSync(quiet, "utf8").split(beat).length - 1;
    await until("one heartbeat", () => count() > 0, { withinMs: SOON_MS });
    const cycles = async () =>
      Number(/^matriarch_ha_cycle_seconds_count(?:\{.*\})? (\d+)$/m.exec((await replica.api("/metrics")).text)?.[1]);
    const before = await cycles();
    await until("more cycles", async () => (await cycles()) >= before + 3, { withinMs: SOON_MS });
    const lines = readFileSync(quiet, "utf8").trim().split("\n");
    expect(lines.filter((line, index) => line.startsWith(beat) && line === lines[index - 1])).toEqual([]);
    expect(lines.filter((line) => !/^matriarch\.ha INFO {4}\| |^matriarch(\.\w+)* (WARNING|ERROR) +\| /.test(line))).toEqual([]);

    const from = replica.log.length;
    await logTo(replica, null);
    await replica.untilLogs(/ INFO: no action\. I am /, { withinMs: SOON_MS, from });
  });

  claim("a stop closes the watchdog, ends PostgreSQL, tells on_stop, and tells systemd as the start did", async () => {
    const { leader } = await roles();
    for (const socket of manager.values()) expect(socket.received()).toEqual(["READY=1"]);
    expect(await leader.terminate()).toBe(0);
    await until("closed", () => orders(leader).endsWith("V"), { withinMs: SOON_MS });
    expect(linesOf(leader, "calls")).toContain(`${leader.name} on_stop primary demo`);
    expect(linesOf(leader, "hooks").at(-1)).toBe("before_stop");
  });
});
