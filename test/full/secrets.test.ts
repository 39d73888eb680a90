// Goal: a secret is nowhere but in the files meant for it, which nobody else may read: not in a log, an error, an answer, a command line,
// or any other file, whatever is done with the cluster and however it fails.
// Method: every secret of a full configuration is a word of its own. While two nodes start, hand over, fail, are copied anew, reloaded and
// asked wrongly, the command lines of all processes are watched; at the end every file below the nodes' folders is searched.

import { afterAll, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { give } from "../../lib/cli/quickstart/folder.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const PRODUCT = resolve(import.meta.dir, "../..");
const LOOK_EVERY_MS = 20;
const word = (name: string) => `hush-${name}-${randomBytes(9).toString("hex")}`;
/** Those above stand in files of their own, the others in the configuration. */
const IN_FILES = { superuser: word("superuser"), consul: word("consul"), api: word("api"), token: word("token"), hook: word("hook") };
const INLINE = { replication: word("replication"), rewind: word("rewind") };
const ALL: readonly string[] = [...Object.values(IN_FILES), ...Object.values(INLINE)];
/** Where a secret belongs, by the end of its path in a node's folder. */
const MEANT = /^(node\.yml|pgpass|secret-[a-z]+)$/;

/** What was seen of secrets, each place once. */
class Sightings {
  readonly places = new Set<string>();
  looked = 0;

  look(place: string, text: string): void {
    this.looked += 1;
    for (const secret of ALL) if (text.includes(secret)) this.places.add(`${secret.split("-")[1]} in ${place}`);
  }
}

/** All processes' arguments, until it is told to end. */
function watchCommandLines(seen: Sightings): { end(): void } {
  const timer = setInterval(() => {
    for (const pid of readdirSync("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      try {
        const text = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        seen.look(`the command line of ${text.split("\0")[0]}`, text);
      } catch {
        // It has ended since the folder was read.
      }
    }
  }, LOOK_EVERY_MS);
  return { end: () => clearInterval(timer) };
}

function configure(node: ClusterNode): void {
  const file = (name: keyof typeof IN_FILES): string => {
    const path = join(node.place.folder, `secret-${name}`);
    writeFileSync(path, `${IN_FILES[name]}\n`, { mode: 0o600 });
    give(path, node.place.user);
    return path;
  };
  node.editConfig((config) => {
    const [restapi, consul, postgresql] = ["restapi", "consul", "postgresql"].map((name) => config[name] as Tree);
    Object.assign(restapi ?? {}, {
      authentication: { username: "operator", password_file: file("api") },
      tokens: { deploy: { role: "operate", token_file: file("token") } },
      protected_paths: ["/events"],
    });
    // Nobody listens there: each delivery fails, and is told of.
    const address = file("hook");
    writeFileSync(address, `http://127.0.0.1:9/${IN_FILES.hook}\n`);
    config["hooks"] = { pager: { url_file: address, retries: 1, timeout: 1 } };
    Object.assign(consul ?? {}, { token_file: file("consul") });
    Object.assign(postgresql ?? {}, {
      authentication: {
        superuser: { username: "postgres", password_file: file("superuser") },
        replication: { username: "replicator", password: INLINE.replication },
        rewind: { username: "rewinder", password: INLINE.rewind },
      },
    });
    // Whatever is said at all is said.
    config["log"] = { level: "DEBUG" };
    Object.assign((postgresql?.["parameters"] ?? {}) as Tree, { log_statement: "all", log_min_messages: "debug1", log_connections: "on" });
  });
}

/** Every file below a node's folder, with what it holds. */
function search(node: ClusterNode, seen: Sightings): readonly string[] {
  const meant: string[] = [];
  const { folder } = node.place;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = relative(folder, path);
    const bytes = readFileSync(path);
    const held = ALL.filter((secret) => bytes.includes(secret));
    seen.looked += 1;
    if (held.length === 0) continue;
    if (MEANT.test(name)) {
      expect([name, statSync(path).mode & 0o777]).toEqual([name, 0o600]);
      meant.push(name);
    } else for (const secret of held) seen.places.add(`${secret.split("-")[1]} in ${node.name}/${name}`);
  }
  return meant;
}

test("no secret is seen anywhere but in the files meant for it", async () => {
  const seen = new Sightings();
  const lines = watchCommandLines(seen);
  try {
    await TestCluster.with({ store: "consul", nodes: 2, start: false }, async (cluster) => {
      for (const node of cluster.nodes) {
        configure(node);
        node.start();
      }
      const first = await cluster.untilHealthy();
      const [second] = cluster.others(first);
      if (second === undefined) throw new Error("two nodes");
      const basic = (password: string) => ({ authorization: `Basic ${btoa(`operator:${password}`)}` });
      const bearer = async (path: string, method: string, token: string) => {
        const answer = await first.api(path, { method, headers: { authorization: `Bearer ${token}` } });
        seen.look(`the answer to ${method} ${path}`, answer.text);
        return answer.status;
      };
      const ask = async (path: string, method = "GET", body: unknown = undefined, password: string | null = null) => {
        const answer = await first.api(path, { method, body, headers: password === null ? {} : basic(password), timeoutMs: 30_000 });
        seen.look(`the answer to ${method} ${path}`, answer.text);
        return answer.status;
      };
      for (const path of ["/patroni", "/cluster", "/config", "/history", "/metrics", "/failsafe", "/openapi.json", "/nowhere"])
        await ask(path);
      expect(await ask("/reload", "POST")).toBe(401);
      expect(await ask("/reload", "POST", undefined, `${IN_FILES.api}x`)).toBe(401);
      expect(await ask("/config", "PATCH", "{", IN_FILES.api)).toBe(400);
      expect(await ask("/config", "PATCH", { postgresql: { parameters: { work_mem: "5MB" } } }, IN_FILES.api)).toBe(200);
      expect(await ask("/reload", "POST", undefined, IN_FILES.api)).toBe(202);
      expect(await bearer("/reload", "POST", `${IN_FILES.token}x`)).toBe(401);
      expect(await bearer("/config", "PATCH", IN_FILES.token)).toBe(403);
      expect(await bearer("/reload", "POST", IN_FILES.token)).toBe(202);
      expect(await ask("/events")).toBe(401);
      expect(await bearer("/events", "GET", IN_FILES.token)).toBe(200);
      const run = (words: readonly string[]) => {
        const ended = spawnSync(process.execPath, ["run", ...words], { cwd: PRODUCT, encoding: "utf8" });
        seen.look(`what ${words.join(" ").replaceAll(cluster.folder, "")} says`, `${ended.stdout}${ended.stderr}`);
        return ended.status;
      };
      const ctl = (...words: readonly string[]) => run(["scripts/ctl.ts", "-c", first.configPath, ...words]);
      for (const words of [
        ["list", "-e"],
        ["topology"],
        ["dsn"],
        ["show-config"],
        ["history"],
        ["version", "demo"],
        ["doctor", first.configPath],
      ])
        ctl(...words);
      for (const words of ["--validate-config", "--print-config"]) run(["workers/supervisor.ts", words, first.configPath]);
      run(["workers/leader-race.ts", first.configPath]);
      expect(ctl("switchover", "demo", "--leader", first.name, "--candidate", second.name, "--force")).toBe(0);
      expect(await cluster.untilHealthy()).toBe(second);
      expect(ctl("reinit", "demo", first.name, "--force")).toBe(0);
      await cluster.untilHealthy();
      // A password that the server does not take, in the midst: the error names the user, and not what was tried.
      const before = first.log.length;
      writeFileSync(join(first.place.folder, "secret-superuser"), `${IN_FILES.superuser}x\n`);
      first.kill("SIGHUP");
      await first.untilLogs(/reload|configuration/i, { withinMs: 20_000, from: before });
      writeFileSync(join(first.place.folder, "secret-superuser"), `${IN_FILES.superuser}\n`);
      first.kill("SIGHUP");
      await second.killHost();
      await cluster.untilLeader({ among: [first] });
      second.start();
      expect(await cluster.untilHealthy()).toBe(first);
      // The rewound or copied node and the former one: all that they ever wrote.
      await until("the log has more than a few lines", () => first.log.length > 10_000, { withinMs: 20_000 });
      for (const node of cluster.nodes) {
        const meant = search(node, seen);
        expect(meant).toEqual(expect.arrayContaining(["node.yml", ...Object.keys(IN_FILES).map((name) => `secret-${name}`)]));
      }
    });
  } finally {
    lines.end();
  }
  expect([...seen.places]).toEqual([]);
  console.log(`figure: secrets: ${ALL.length} searched for in ${seen.looked} command lines, answers and files: 0 found`);
  // The search would have found one.
  const control = new Sightings();
  control.look("a text", `password=${INLINE.rewind}`);
  expect(control.places.size).toBe(1);
}, 240_000);
