// Goal: a standby cluster follows its primary site to a new major version by the steps of docs/upgrades.md, and is not upgraded by itself. Method:
// a primary site of one node of PostgreSQL 13 and a standby cluster of two; ctl there, the words of an operator here.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { TestCluster } from "../harness/cluster.ts";
import type { Tree } from "../harness/cluster-node.ts";
import { ownCtl } from "../harness/ctl-tools.ts";
import { majorOf, postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";
import { type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { StandbySite } from "../harness/standby-site.ts";
import { until } from "../harness/wait.ts";

/** Programs of a minute each on a busy machine: nothing here is about how long they take. */
const LIMIT_MS = 900_000;
let store: OutsideStore;
let both: StandbySite;

beforeAll(async () => {
  const bin_dir = postgres13();
  const extra = () => ({ postgresql: { bin_dir } });
  store = await startOutsideStore();
  both = await StandbySite.shared({ nodes: ["s1", "s2"], outside: store, extra, main: { extra } });
}, LIMIT_MS);
afterAll(async () => {
  await TestCluster.stopAll();
  await store?.stop();
}, LIMIT_MS);

test(
  "the primary site is upgraded, the standby cluster is made anew from it, and follows it as before",
  () =>
    both.during(async () => {
      const next = postgresBinDir();
      await both.untilStandbys();
      await both.untilCopied();
      const refused = await both.ctl("upgrade", "--run", "--to-bin-dir", next, "--force");
      expect([refused.status, refused.text]).toEqual([1, expect.stringContaining("upgrade its primary site, and then make this one anew")]);
      const done = await ownCtl(both.main).run(["upgrade", "--run", "--to-bin-dir", next, "--force"]);
      expect([done.status, done.text]).toEqual([0, expect.stringMatching(/Upgrade [0-9-]+: done\n$/)]);

      for (const node of both.site.nodes) {
        await node.terminate();
        expect(node.postmasterPid()).toBeNull();
        rmSync(node.dataDir, { recursive: true });
        node.editConfig((config: Tree) => {
          Object.assign(config["postgresql"] as Tree, { bin_dir: next });
        });
      }
      await until("the keys of the old supervisors have ended", async () => (await both.site.key("leader")) === null, { withinMs: 60_000 });
      for (const name of ["initialize", "history", "status", "sync"]) await both.site.deleteKey(name);
      await both.site.sight.deleteKey(`service/${both.site.scope}.lease`);
      for (const node of both.site.nodes) node.start();
      await both.untilStandbys();
      await both.untilCopied();
      const versions = await Promise.all(
        both.site.nodes.map(async (node) => Math.floor(((await node.status())["server_version"] as number) / 10_000)),
      );
      expect(versions).toEqual([majorOf(next), majorOf(next)]);
      expect((await both.site.key("initialize"))?.value).toBe((await both.main.key("initialize"))?.value ?? "");
    }),
  LIMIT_MS,
);
