// Goal: a scheduled backup is taken by a replica, from there, and everybody can see that it was.
// Method: two nodes with the real pgBackRest and its TLS servers; deaths and failovers are in test/full/backup-schedule.test.ts.

import { afterAll, describe, expect, test } from "bun:test";
import { BackupServers } from "../harness/backup-servers.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { Tree } from "../harness/cluster-node.ts";
import { ownCtl } from "../harness/ctl-tools.ts";
import { findPgBackRest, TestRepository } from "../harness/pgbackrest.ts";

const LIMIT_MS = 300_000;
const PATIENT = { withinMs: 200_000 };
const found = findPgBackRest();
const missing = "missing" in found ? found.missing : null;

if (missing !== null) process.stderr.write(`skipped, for pgBackRest cannot be had: ${missing}\n`);

afterAll(() => TestCluster.stopAll(), LIMIT_MS);

describe.skipIf(missing !== null)("a scheduled backup", () => {
  test(
    "is taken by the replica, from itself; ctl, the metrics and the events tell of it",
    async () => {
      if ("missing" in found) return;
      const repository = new TestRepository(found.path);
      let servers: BackupServers | null = null;
      try {
        await TestCluster.with({ nodes: 2, start: false, dynamic: { loop_wait: 1 } }, async (cluster) => {
          servers = await BackupServers.start(repository, cluster.nodes);
          for (const node of cluster.nodes) {
            node.editConfig((config) => {
              config["pgbackrest"] = { ...(config["pgbackrest"] as Tree), schedule: { incr: "* * * * * *" } };
            });
            node.start();
          }
          const leader = await cluster.untilHealthy(PATIENT);
          const [replica] = cluster.others(leader);
          if (replica === undefined) throw new Error("there are two");
          await replica.untilLogs("backup: incr is done: ", PATIENT);
          expect(replica.log).toContain("backup: incr begins from this standby");
          expect(leader.log).not.toContain("backup: incr begins");
          const shown = await ownCtl(cluster).run(["backups"]);
          expect(shown.status).toBe(0);
          expect(shown.text).toMatch(new RegExp(`Scheduled incr .*; last \\d{8}-\\d{6}F.* on ${replica.name} at `));
          const metrics = await (await fetch(`${leader.apiUrl}/metrics`)).text();
          expect(metrics).toMatch(/^matriarch_backup_last_success_timestamp_seconds\{[^}]*type="incr"\} \d{10}$/m);
          const events = (await (await fetch(`${replica.apiUrl}/events?kind=backup`)).json()) as { events: Tree[] };
          expect(events.events.map(({ what }) => what).slice(0, 2)).toEqual(["started", "done"]);
          const [backup] = JSON.parse(repository.run(leader, "--output=json", "info"))[0].backup as Tree[];
          expect(backup).toMatchObject({ type: "full", error: false });
        });
      } finally {
        (servers as BackupServers | null)?.stop();
        repository.remove();
      }
    },
    LIMIT_MS,
  );
});
