// Goal: a cluster of PostgreSQL 13 becomes one of the installed version by the steps of docs/upgrades.md, with its data, its configuration and
// its replica. Method: two real nodes; the words of an operator, in that order, as the user of the servers.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { give } from "../../lib/cli/quickstart/folder.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";
import { type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 400_000;
let store: OutsideStore;
let cluster: TestCluster;
let ctl: CtlTool;
let old: string;
let scratch: string;

beforeAll(async () => {
  old = postgres13();
  store = await startOutsideStore();
  cluster = await TestCluster.shared({ nodes: 2, outside: store, extra: () => ({ postgresql: { bin_dir: old } }) });
  ctl = ownCtl(cluster);
  scratch = mkdtempSync(join(tmpdir(), "upgrade-"));
  give(scratch, cluster.node(0).place.user);
  await cluster.untilHealthy();
}, LIMIT_MS);
afterAll(async () => {
  await TestCluster.stopAll();
  await store?.stop();
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
});

/** As the user of the servers, in a folder that is its own. Throws with what it said. */
async function asServerUser(program: string, ...words: readonly string[]): Promise<string> {
  const { uid, gid } = cluster.node(0).place.user;
  const asUser = uid === null || gid === null ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
  const child = Bun.spawn([...asUser, program, ...words], { cwd: scratch, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, complaints] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`${program}: ${out}${complaints}`);
  return out;
}

/** Steps 1 to 5: everything is stopped, and `fresh` holds the new version's cluster. */
async function upgradeFiles(next: string, leader: ClusterNode, fresh: string): Promise<void> {
  expect((await ctl.run(["pause", "--wait"])).status).toBe(0);
  for (const node of [...cluster.others(leader), leader]) {
    await node.terminate();
    await asServerUser(join(old, "pg_ctl"), "stop", "-D", node.dataDir, "-m", "fast", "-w");
  }
  await asServerUser(join(next, "initdb"), "-D", fresh, "-U", "postgres", "-E", "UTF8", "--locale=C", "--data-checksums", "--no-sync");
  await asServerUser(join(next, "pg_upgrade"), "--link", "-b", old, "-B", next, "-d", leader.dataDir, "-D", fresh, "-U", "postgres");
  await until("the sessions of the old supervisors have ended", async () => (await cluster.key("leader")) === null, { withinMs: 60_000 });
  for (const name of ["history", "status", "sync"]) await cluster.deleteKey(name);
  await cluster.sight.deleteKey(`service/${cluster.scope}.lease`);
}

/** Steps 6 and 7. */
async function startAgain(leader: ClusterNode): Promise<void> {
  leader.start();
  await until("it is started", async () => (await leader.api("/restart", { method: "POST", body: {}, timeoutMs: 60_000 })).status === 200, {
    withinMs: 120_000,
    everyMs: 500,
  });
  await until("it holds the lock", async () => (await cluster.key("leader"))?.value === leader.name, { withinMs: 60_000 });
  await cluster.patchConfig({ pause: null });
  for (const node of cluster.others(leader)) node.start();
  expect(await cluster.untilHealthy({ withinMs: 120_000 })).toBe(leader);
}

async function serverVersions(): Promise<readonly number[]> {
  return Promise.all(cluster.nodes.map(async (node) => (await node.status())["server_version"] as number));
}

test(
  "a cluster goes back before the new server has run, and then is upgraded: same data, a new identifier, the replica copied again",
  () =>
    cluster.during(async () => {
      const next = postgresBinDir();
      const first = await cluster.untilHealthy();
      const [leader] = cluster.others(first) as [ClusterNode];
      // A second timeline: what is known of it must not stand against the new cluster, which begins with its first.
      expect((await ctl.run(["switchover", "--candidate", leader.name, "--force"])).status).toBe(0);
      await cluster.untilHealthy();
      const [replica] = cluster.others(leader) as [ClusterNode];
      const writer = await cluster.writer();
      await writer.afterNowBy(leader.name, 20_000);
      const identifier = (await cluster.key("initialize"))?.value;

      await upgradeFiles(next, leader, join(leader.place.folder, "data-left"));
      renameSync(join(leader.dataDir, "global/pg_control.old"), join(leader.dataDir, "global/pg_control"));
      await startAgain(leader);
      expect((await serverVersions()).every((version) => version < 140_000)).toBe(true);
      expect((await cluster.key("initialize"))?.value).toBe(identifier as string);
      await writer.afterNowBy(leader.name, 60_000);

      await upgradeFiles(next, leader, join(leader.place.folder, "data-new"));
      for (const node of cluster.nodes) {
        node.editConfig((config: Tree) => {
          Object.assign(config["postgresql"] as Tree, { bin_dir: next, data_dir: join(node.place.folder, "data-new") });
        });
      }
      await startAgain(leader);
      expect((await cluster.key("initialize"))?.value).not.toBe(identifier as string);
      expect((await serverVersions()).every((version) => version > 140_000)).toBe(true);
      const where = ["-h", leader.place.folder, "-p", String(leader.place.postgresPort), "-U", "postgres"];
      await asServerUser(join(next, "vacuumdb"), "--all", "--analyze-in-stages", ...where);
      await writer.afterNowBy(leader.name, 60_000);
      expect(await writer.lost(leader)).toEqual([]);
      expect((await ctl.run(["switchover", "--candidate", replica.name, "--force"])).status).toBe(0);
      expect(await cluster.untilHealthy()).toBe(replica);
    }),
  LIMIT_MS,
);
