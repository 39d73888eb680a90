// Goal: what cannot work is refused with one clear error, and nothing is changed: not the data, not the cluster's keys.
// Method: supervisors with one fault each beside a healthy one-node cluster, in one store.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { give } from "../../lib/cli/quickstart/folder.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { until } from "../harness/wait.ts";

const strangers: TestCluster[] = [];
const EXIT_WITHIN_MS = 90_000;

let outside: OutsideStore;
let healthy: TestCluster;

beforeAll(async () => {
  outside = await startOutsideStore();
  healthy = await TestCluster.start({ nodes: ["node1"], outside });
  await healthy.untilHealthy();
}, 60_000);

afterAll(async () => {
  await Promise.all([...strangers, ...(healthy === undefined ? [] : [healthy])].map((cluster) => cluster.stop()));
  await TestCluster.stopAll();
  await outside?.stop();
});

describe("a node that cannot work", () => {
  test.concurrent("with a wrong system identifier ends with status 1", async () => {
    const stranger = await newNode("stranger", { scope: "elsewhere" });
    stranger.start();
    await until("it leads", async () => (await stranger.health("/primary")) === 200, { withinMs: 60_000 });
    await stranger.terminate();
    stranger.editConfig((config) => {
      config["scope"] = "demo";
    });
    await refuses(stranger, { says: /system ID mismatch, node stranger belongs to a different cluster: \d+ != \d+/ });
  });

  test.concurrent("with a name that is taken ends with status 1", async () => {
    const second = await newNode("node1");
    await refuses(second, { says: "Can't start; there is already a node named 'node1' running" });
    expect(second.log).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} CRITICAL: Can't start; there is already a node named 'node1' running$/m,
    );
  });

  test.concurrent("that runs already, started a second time, ends with status 4", async () => {
    const [node] = healthy.nodes as [ClusterNode];
    const twin = new Twin(node);
    expect(await twin.end()).toBe(4);
    expect(twin.output).toContain(`another supervisor of this node is running (pid ${node.pid})`);
    expect(await node.health("/primary")).toBe(200);
  });

  test.concurrent("with broken YAML ends with status 1", async () => {
    const node = await newNode("broken");
    writeFileSync(node.configPath, "scope: demo\nname: broken\n  restapi: [\n");
    await refuses(node, { says: /line \d/ });
  });

  test.concurrent("with a wrong option ends with status 1 and names its path", async () => {
    const node = await newNode("wrong", { extra: { postgresql: { listen: "127.0.0.1:port" } } });
    await refuses(node, { says: "postgresql.listen: " });
  });

  test.concurrent("with a taken REST port ends with status 1", async () => {
    const node = await newNode("rest", { extra: { restapi: { listen: `127.0.0.1:${healthy.node(0).place.apiPort}` } } });
    await refuses(node, { says: "restapi.listen: " });
  });

  test.concurrent("with a taken PostgreSQL port ends with status 1", async () => {
    const port = healthy.node(0).place.postgresPort;
    const node = await newNode("port", { extra: { postgresql: { listen: `127.0.0.1:${port}`, connect_address: `127.0.0.1:${port}` } } });
    await refuses(node, { says: "postgresql.listen: " });
  });

  test.concurrent("with a data directory that is not PostgreSQL's ends with status 1", async () => {
    const node = await newNode("foreign");
    mkdirSync(node.dataDir, { mode: 0o700 });
    writeFileSync(join(node.dataDir, "thesis.txt"), "ten years of work");
    give(node.dataDir, node.place.user);
    give(join(node.dataDir, "thesis.txt"), node.place.user);
    await refuses(node, { says: "postgresql.data_dir: " });
    expect(readFileSync(join(node.dataDir, "thesis.txt"), "utf8")).toBe("ten years of work");
  });

  test.concurrent("with a data directory that it may not make ends with status 1", async () => {
    const node = await newNode("readonly");
    const parent = join(node.place.folder, "disk");
    mkdirSync(parent);
    give(parent, node.place.user);
    chmodSync(parent, 0o555);
    node.editConfig((config) => {
      config["postgresql"] = { ...(config["postgresql"] as Tree), data_dir: join(parent, "data") };
    });
    await refuses(node, { says: "postgresql.data_dir: " });
  });

  test.skipIf(process.getuid?.() !== 0).concurrent("on a read-only disk ends with status 1", async () => {
    const node = await newNode("disk");
    const disk = join(node.place.folder, "disk");
    mkdirSync(disk);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", disk], { encoding: "utf8" });
    if (mounted.status !== 0) {
      console.log(`skipped: no tmpfs can be mounted: ${mounted.stderr}`);
      return;
    }
    try {
      node.editConfig((config) => {
        config["postgresql"] = { ...(config["postgresql"] as Tree), data_dir: join(disk, "data") };
      });
      await refuses(node, { says: "postgresql.data_dir: " });
    } finally {
      spawnSync("umount", ["-l", disk]);
    }
  });

  test.concurrent("with a certificate that cannot be read ends with status 1", async () => {
    const node = await newNode("certificate", { extra: { restapi: { certfile: "/nonexistent/server.pem" } } });
    await refuses(node, { says: "restapi.certfile: " });
  });

  test.skipIf(process.getuid?.() !== 0).concurrent("that is started by root ends with status 1", async () => {
    const node = await newNode("root", { prefix: ["env"] });
    await refuses(node, { says: "PostgreSQL refuses to run as root" });
  });

  test.concurrent("whose store is out of reach waits, says so, and goes on when the store is there", async () => {
    const late = await startOutsideStore();
    const waiting: TestCluster[] = [];
    try {
      await late.kill();
      const cluster = await TestCluster.start({ nodes: ["patient"], outside: late });
      waiting.push(cluster);
      const node = cluster.node(0);
      await node.untilLogs("DCS is not accessible", { withinMs: 60_000 });
      await until("the API says so", async () => (await node.status())["state"] === "stopped", { withinMs: 60_000 });
      expect(node.pid).not.toBeNull();
      await late.restart();
      const from = performance.now();
      await cluster.untilHealthy();
      console.log(`figure: store there for the first time, until the node leads: ${Math.round(performance.now() - from)} ms`);
    } finally {
      await Promise.all(waiting.map((cluster) => cluster.stop()));
      await late.stop();
    }
  }, 240_000);
});

async function newNode(
  name: string,
  options: { readonly scope?: string; readonly extra?: Tree; readonly prefix?: readonly string[] } = {},
): Promise<ClusterNode> {
  const cluster = await TestCluster.start({
    nodes: [name],
    outside,
    scope: options.scope ?? "demo",
    start: false,
    extra: () => options.extra ?? {},
    ...(options.prefix === undefined ? {} : { network: () => ({ host: "127.0.0.1", prefix: options.prefix ?? [] }) }),
  });
  strangers.push(cluster);
  return cluster.node(0);
}

/** Starts it: it ends by itself with status 1, says why in one line, and has changed neither its folder nor the cluster's keys. */
async function refuses(node: ClusterNode, options: { readonly says: string | RegExp }): Promise<void> {
  const before = { files: tree(node.place.folder), keys: await keysOf(node) };
  const from = node.log.length;
  node.start();
  const code = await Promise.race([node.exited, Bun.sleep(EXIT_WITHIN_MS).then(() => "still running")]);
  const said = node.log.slice(from).trimEnd().split("\n");
  if (code !== 1) console.log(said.join("\n"));
  expect(code).toBe(1);
  const matches = (line: string) => (typeof options.says === "string" ? line.includes(options.says) : options.says.test(line));
  expect(said.filter(matches)).toHaveLength(1);
  expect(said.filter((line) => !/^[-\d]{10} [:,\d]{12} (DEBUG|INFO|WARNING): /.test(line))).toHaveLength(1);
  expect(tree(node.place.folder)).toEqual(before.files);
  expect(await keysOf(node)).toEqual(before.keys);
  expect(await healthy.node(0).health("/primary")).toBe(200);
}

/** Path, size and time of change of everything that is not the supervisor's own (its output, its run lock) or Bun's. */
function tree(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => path !== "supervisor.log" && !path.includes(".matriarch") && !path.startsWith(".bun"))
    .map((path) => {
      const facts = statSync(join(folder, path));
      return facts.isDirectory() ? path : `${path} ${facts.size} ${facts.mtimeMs}`;
    })
    .sort();
}

/** The keys that this node could have written, as they are. */
async function keysOf(node: ClusterNode): Promise<Readonly<Record<string, string | null>>> {
  const [leader, initialize, member] = await Promise.all(["leader", "initialize", `members/${node.name}`].map((name) => healthy.key(name)));
  return {
    leader: leader?.value ?? null,
    initialize: initialize?.value ?? null,
    member: node.name === "node1" ? null : (member?.value ?? null),
  };
}

/** The same node file under a second supervisor. */
class Twin {
  readonly #node: ClusterNode;
  output = "";

  constructor(node: ClusterNode) {
    this.#node = node;
  }

  async end(): Promise<number> {
    const { user } = this.#node.place;
    const child = Bun.spawn([process.execPath, "run", join(import.meta.dir, "../../workers/supervisor.ts"), this.#node.configPath], {
      cwd: this.#node.place.folder,
      env: { PATH: process.env["PATH"] ?? "", HOME: this.#node.place.folder },
      stdout: "pipe",
      stderr: "pipe",
      ...(user.uid === null || user.gid === null ? {} : { uid: user.uid, gid: user.gid }),
    } as Parameters<typeof Bun.spawn>[1]);
    const streams = [child.stdout, child.stderr].map((stream) => new Response(stream as ReadableStream).text());
    this.output = (await Promise.all(streams)).join("");
    return await child.exited;
  }
}
