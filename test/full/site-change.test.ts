// Goal: production moves from one site to the other and back without a lost row. Method: two clusters, each a standby of the other in turn,
// as docs/topology.md says it.

import { afterAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import { StandbySite } from "../harness/standby-site.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 180_000;
const WITHIN_MS = 60_000;

afterAll(() => TestCluster.stopAll(), LIMIT_MS);

async function rows(cluster: TestCluster): Promise<number> {
  const node = cluster.node(0);
  return Number((await cluster.sql<{ n: string }>(node, "SELECT count(*) AS n FROM t"))[0]?.n);
}

/** The primary of `from` becomes a standby of `to`, which then takes over. */
async function moveProduction(both: StandbySite, from: TestCluster, to: TestCluster): Promise<void> {
  const before = await rows(from);
  const port = String(to.node(0).place.postgresPort);
  const demoted = await both.ctlOf(from, ["demote-cluster", "--force", "--host", "127.0.0.1", "--port", port]);
  expect(demoted).toMatchObject({ status: 0 });
  await until("every row is there", async () => (await rows(to)) === before, { withinMs: WITHIN_MS });
  expect(await both.ctlOf(to, ["promote-cluster", "--force"])).toMatchObject({ status: 0 });
  await to.untilHealthy();
  await to.sql(to.node(0), "INSERT INTO t SELECT generate_series(1, 10)");
  await until("the former primary follows", async () => (await rows(from)) === before + 10, { withinMs: WITHIN_MS });
}

test(
  "each site follows the other in turn, and no row is lost or rewound",
  async () => {
    const both = await StandbySite.shared({ nodes: ["s1"] });
    await both.during(async () => {
      await both.untilStandbys();
      await both.untilCopied();
      await moveProduction(both, both.main, both.site);
      await moveProduction(both, both.site, both.main);
      for (const node of [both.source, both.site.node(0)]) expect(node.log).not.toContain("pg_rewind");
    });
  },
  LIMIT_MS,
);
