// Goal: a standby cluster keeps a leader through the deaths of hosts, also right after it was demoted, and follows on.
// Method: three nodes behind a cluster of one; SIGKILL of everything that belongs to the standby leader.

import { afterAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { StandbySite } from "../harness/standby-site.ts";

const LIMIT_MS = 180_000;

afterAll(() => TestCluster.stopAll(), LIMIT_MS);

/** The standby leader's host dies and comes back; the others have a leader of their own meanwhile. */
async function killLeader(both: StandbySite): Promise<void> {
  const before: ClusterNode = await both.untilStandbys();
  const others = both.site.others(before);
  await before.killHost();
  expect((await both.untilStandbys(others)).name).not.toBe(before.name);
  await both.untilCopied(others);
  before.start();
  await both.untilStandbys();
}

test(
  "a standby leader whose host dies is replaced, before and after the cluster led a life of its own",
  async () => {
    const both = await StandbySite.shared({ nodes: ["s1", "s2", "s3"] });
    await both.during(async () => {
      await killLeader(both);
      expect((await both.ctl("promote-cluster", "--force")).status).toBe(0);
      const primary = await both.site.untilHealthy();
      await both.site.sql(primary, "INSERT INTO t SELECT 1000000 FROM generate_series(1, 1000)");
      await both.main.sql(both.source, "INSERT INTO t SELECT 0 FROM generate_series(1, 1000)");
      const port = String(both.source.place.postgresPort);
      expect((await both.ctl("demote-cluster", "--force", "--host", "127.0.0.1", "--port", port)).status).toBe(0);
      await both.untilStandbys();
      await killLeader(both);
      await both.untilCopied();
      expect(await both.site.sql(both.site.node(0), "SELECT n FROM t WHERE n = 1000000")).toEqual([]);
    });
  },
  LIMIT_MS,
);
