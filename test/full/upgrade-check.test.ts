// Goal: before a major upgrade each node says whether it could be done, and changes nothing by being asked; a cluster of PostgreSQL 13 runs
// like any other. Method: two real nodes of version 13, the programs of the installed version, and what pg_upgrade refuses.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";
import { serverStarts } from "../harness/server-starts.ts";

const LIMIT_MS = 400_000;
const CTL = join(import.meta.dir, "../../scripts/ctl.ts");
let cluster: TestCluster;

beforeAll(async () => {
  const bin_dir = postgres13();
  cluster = await TestCluster.shared({ nodes: 2, extra: () => ({ postgresql: { bin_dir } }) });
  await cluster.untilHealthy();
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll());

interface Finding {
  readonly subject: string;
  readonly verdict: string;
  readonly says: string;
}

async function check(
  node: ClusterNode,
  toBinDir = postgresBinDir(),
): Promise<{ readonly status: number; readonly findings: readonly Finding[] }> {
  const { uid, gid } = node.place.user;
  const asUser = uid === null || gid === null ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
  const words = ["upgrade", "--check", "--to-bin-dir", toBinDir, "-f", "json", node.configPath];
  const child = Bun.spawn([...asUser, process.execPath, "run", CTL, ...words], {
    cwd: "/",
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  return { status: await child.exited, findings: JSON.parse(text) as readonly Finding[] };
}

function finding(findings: readonly Finding[], subject: string): Finding | null {
  return findings.find((found) => found.subject === subject) ?? null;
}

test(
  "the primary is rehearsed with pg_upgrade, a standby is not, and both run on as they were",
  () =>
    cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const [standby] = cluster.others(leader) as [ClusterNode];
      const before = await serverStarts(cluster);
      const [onLeader, onStandby] = [await check(leader), await check(standby)];
      expect(finding(onLeader.findings, "rehearsal")).toMatchObject({
        verdict: "fine",
        says: expect.stringContaining("pg_upgrade --check of version"),
      });
      expect(onLeader.status).toBe(0);
      expect([onStandby.status, finding(onStandby.findings, "role")?.verdict]).toEqual([0, "fine"]);
      expect(finding(onStandby.findings, "rehearsal")).toBeNull();
      expect(await serverStarts(cluster)).toEqual(before);
      expect(readdirSync(leader.place.folder).filter((name) => name.startsWith(".matriarch-upgrade"))).toEqual([]);
    }),
  LIMIT_MS,
);

test(
  "what pg_upgrade refuses is told, and so are programs that are no newer",
  () =>
    cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      await cluster.sql(leader, "create table refused (procedure regproc)");
      const refused = await check(leader);
      expect(refused.status).toBe(1);
      expect(finding(refused.findings, "rehearsal")).toMatchObject({ verdict: "fault", says: expect.stringMatching(/reg\* /) });
      await cluster.sql(leader, "drop table refused");
      const older = await check(leader, postgres13());
      expect([older.status, finding(older.findings, "programs")]).toMatchObject([
        1,
        { verdict: "fault", says: expect.stringContaining("is of version 13") },
      ]);
      await cluster.untilHealthy();
    }),
  LIMIT_MS,
);
