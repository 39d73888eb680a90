// Goal: `ctl upgrade --run` takes a cluster of an older PostgreSQL to the installed version, and what it leaves is what was there before.
// Method: two real nodes of version 13 and the operator's one command; three nodes with a client that writes, kills in every phase, failures
// and the way back are in test/full/upgrade-*.test.ts.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { Tree } from "../harness/cluster-node.ts";
import { ownCtl } from "../harness/ctl-tools.ts";
import { majorOf, postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";

const LIMIT_MS = 600_000;
const next = postgresBinDir();
const major = majorOf(next);
let cluster: TestCluster;

if (major <= 13) process.stderr.write("skipped: the installed PostgreSQL is no newer than the one that is to be upgraded\n");

afterAll(() => TestCluster.stopAll(), LIMIT_MS);

describe.skipIf(major <= 13)("a major upgrade", () => {
  beforeAll(async () => {
    // Throws where it cannot be had: an upgrade that nobody has seen is no upgrade.
    const bin_dir = postgres13();
    cluster = await TestCluster.shared({ nodes: 2, dynamic: { loop_wait: 1 }, extra: () => ({ postgresql: { bin_dir } }) });
    await cluster.untilHealthy();
  }, LIMIT_MS);

  test(
    "the data is there under the new version on both nodes, with new programs in their files and the old data kept; links allow no way back",
    () =>
      cluster.during(async () => {
        const leader = await cluster.untilHealthy();
        await cluster.sql(leader, "create table kept as select generate_series(1, 100) as n");
        const identifier = (await cluster.key("initialize"))?.value;
        const ctl = ownCtl(cluster);

        const done = await ctl.run(["upgrade", "--run", "--to-bin-dir", next, "--force"]);
        expect([done.status, done.text]).toEqual([0, expect.stringMatching(/Upgrade [0-9-]+: done\n$/)]);

        expect(await cluster.untilHealthy()).toBe(leader);
        for (const node of cluster.nodes) {
          expect(
            await cluster.sql(node, "select current_setting('server_version_num')::int / 10000 as major, count(*)::int as n from kept"),
          ).toEqual([{ major, n: 100 }]);
          expect((node.config["postgresql"] as Tree)["bin_dir"]).toBe(next);
          expect(readdirSync(node.place.folder).filter((name) => name.startsWith("node.yml.before-upgrade-"))).toHaveLength(1);
        }
        expect((await cluster.key("initialize"))?.value).not.toBe(identifier as string);
        expect(await cluster.sql(leader, "select count(*)::int as n from pg_stats where tablename = 'kept'")).toEqual([{ n: 1 }]);
        const kept = readdirSync(leader.place.folder).find((name) => name.startsWith("data.before-upgrade-")) ?? "";
        expect(existsSync(join(leader.place.folder, kept, "global/pg_control.old"))).toBe(true);
        const back = await ctl.run(["upgrade", "--rollback", "--force"]);
        expect([back.status, back.text]).toEqual([1, expect.stringContaining("shares its files with the old data")]);
      }),
    LIMIT_MS,
  );
});
