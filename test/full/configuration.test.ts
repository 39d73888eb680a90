// Goal: what the configuration says for a standby leader is in force with that role alone, and a node's own postgresql.conf (custom_conf)
// is taken, changed and given back without a restart of the supervisor.
// Method: a standby cluster that is promoted, and a changed node file with SIGHUP; what the servers and the logins say.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { StandbySite } from "../harness/standby-site.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 90_000;
const WITHIN_MS = 40_000;
const LETS_ALL_IN = ["local all all trust", "host all all 127.0.0.1/32 md5", "host replication all 127.0.0.1/32 md5"];
let both: StandbySite;

beforeAll(async () => {
  both = await StandbySite.shared({
    nodes: ["s1", "s2"],
    dynamic: {
      postgresql: {
        parameters: { work_mem: "5MB" },
        parameters_standby_leader: { work_mem: "6MB" },
        parameters_replica: { work_mem: "7MB" },
        parameters_primary: { work_mem: "8MB" },
        pg_hba_standby_leader: ["# of the standby leader", ...LETS_ALL_IN],
        pg_hba_replica: ["# of a replica", ...LETS_ALL_IN],
        pg_hba_primary: ["# of the primary", ...LETS_ALL_IN],
        pg_ident: ["everywhere a b"],
        pg_ident_standby_leader: ["standbyleader a b"],
      },
    },
  });
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll(), LIMIT_MS);

function file(node: ClusterNode, name: string): string {
  return readFileSync(join(node.dataDir, name), "utf8");
}

async function untilSetting(node: ClusterNode, name: string, value: string): Promise<void> {
  await until(
    `${name} of ${node.name} is ${value}`,
    async () => {
      const found = await both.setting(node, name);
      if (found !== value) throw new Error(`it is ${found}`);
      return true;
    },
    { withinMs: WITHIN_MS, everyMs: 100 },
  );
}

const untilWorkMem = (node: ClusterNode, value: string) => untilSetting(node, "work_mem", value);

describe("the configuration of a role", () => {
  test(
    "of a standby leader is in force there alone, goes over with the lead, and is the primary's after the promotion",
    () =>
      both.during(async () => {
        const before = await both.untilStandbys();
        const [replica = before] = both.site.others(before);
        await untilWorkMem(before, "6MB");
        await untilWorkMem(replica, "7MB");
        expect([file(before, "pg_hba.conf"), file(before, "pg_ident.conf")]).toEqual([
          expect.stringContaining("# of the standby leader"),
          expect.stringContaining("standbyleader a b"),
        ]);
        expect(file(replica, "pg_hba.conf")).toContain("# of a replica");
        expect(file(replica, "pg_ident.conf")).toContain("everywhere a b");

        const body = { leader: before.name, candidate: replica.name };
        expect((await before.api("/switchover", { method: "POST", body, timeoutMs: 60_000 })).status).toBe(200);
        const leader = await both.untilStandbys();
        expect(leader).toBe(replica);
        await untilWorkMem(leader, "6MB");
        await untilWorkMem(before, "7MB");
        expect([file(leader, "pg_hba.conf"), file(before, "pg_hba.conf")]).toEqual([
          expect.stringContaining("# of the standby leader"),
          expect.stringContaining("# of a replica"),
        ]);

        expect((await both.ctl("promote-cluster", "--force")).status).toBe(0);
        expect(await both.site.untilHealthy()).toBe(leader);
        await untilWorkMem(leader, "8MB");
        await until("the primary's pg_hba", async () => file(leader, "pg_hba.conf").includes("# of the primary"), { withinMs: WITHIN_MS });
        await untilWorkMem(before, "7MB");
        // What is in force is what the files say: nobody restarted anything for it.
        expect((await leader.status())["pending_restart"]).toBeUndefined();
      }),
    LIMIT_MS,
  );
});

describe("custom_conf", () => {
  test(
    "takes the place of postgresql.base.conf at a reload, is read again when it has changed, and is given back",
    () =>
      both.site.during(async () => {
        const leader = await both.site.untilHealthy();
        const [node = leader] = both.site.others(leader);
        const own = join(node.place.folder, "custom.conf");
        writeFileSync(own, "maintenance_work_mem = '21MB'\n", { mode: 0o644 });
        const configured = readFileSync(node.configPath, "utf8");
        const before = await both.setting(node, "maintenance_work_mem");
        node.editConfig((config) => {
          (config["postgresql"] as Tree)["custom_conf"] = own;
        });
        node.kill("SIGHUP");
        await untilSetting(node, "maintenance_work_mem", "21MB");
        expect(file(node, "postgresql.conf")).toContain(`include '${own}'`);

        writeFileSync(own, "maintenance_work_mem = '22MB'\n");
        expect((await node.api("/reload", { method: "POST" })).status).toBe(202);
        await untilSetting(node, "maintenance_work_mem", "22MB");

        writeFileSync(node.configPath, configured);
        node.kill("SIGHUP");
        await untilSetting(node, "maintenance_work_mem", before);
        expect(file(node, "postgresql.conf")).toContain("include 'postgresql.base.conf'");
        expect(await both.site.untilHealthy()).toBe(leader);
      }),
    LIMIT_MS,
  );
});
