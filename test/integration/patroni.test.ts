// Goal: Patroni's own tools drive our nodes, its sample configuration starts one, and its nodes and ours make one cluster.
// Method: the patronictl and the supervisor of Patroni 4.1 from Debian, as they are, over the same Consul.

import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parse } from "yaml";
import { TestCluster } from "../harness/cluster.ts";
import type { Tree } from "../harness/cluster-node.ts";
import { ownCtl } from "../harness/ctl-tools.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { PASSWORDS } from "../harness/passwords.ts";
import { findPatroni, insteadOfOurs, type Patroni, Patronictl, sampleConfig } from "../harness/patroni.ts";
import { until } from "../harness/wait.ts";

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);
const patroni = found as Patroni;

afterAll(() => TestCluster.stopAll());

describe.skipIf(typeof found === "string")("Patroni", () => {
  test.concurrent("patronictl lists, edits the configuration, pauses, resumes and switches over", async () => {
    await TestCluster.with({ nodes: 2 }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const [other] = cluster.others(leader);
      const ctl = new Patronictl(patroni, cluster);
      const rows = await ctl.list();
      expect(rows.map((row) => [row["Member"], row["Role"], row["State"], row["TL"]])).toEqual(
        cluster.nodes.map((node) => (node === leader ? [node.name, "Leader", "running", 1] : [node.name, "Replica", "streaming", 1])),
      );
      expect((await ctl.run("list")).text).toMatch(/^\+ Cluster: demo \(\d{19}\) /m);
      expect((await ctl.run("topology")).text).toContain(`| + ${other?.name} `);

      const edited = await ctl.run("edit-config", "--force", "-s", "maximum_lag_on_failover=2097152", "-p", "work_mem=7MB");
      expect(edited).toMatchObject({ status: 0, text: expect.stringContaining("Configuration changed") });
      expect((await ctl.run("show-config")).text).toContain("maximum_lag_on_failover: 2097152");
      for (const node of cluster.nodes) {
        const works = async () => (await cluster.sql(node, "select current_setting('work_mem') as w"))[0]?.["w"] === "7MB";
        await until(`work_mem of ${node.name}`, works, { withinMs: 10_000, everyMs: 100 });
      }

      expect(await ctl.run("pause", "--wait")).toMatchObject({
        status: 0,
        text: expect.stringContaining("Success: cluster management is paused"),
      });
      expect((await ctl.run("list")).text).toContain("Maintenance mode: on");
      expect(await ctl.run("resume", "--wait")).toMatchObject({
        status: 0,
        text: expect.stringContaining("Success: cluster management is resumed"),
      });

      const switched = await ctl.run("switchover", "demo", "--leader", leader.name, "--candidate", other?.name ?? "", "--force");
      expect(switched).toMatchObject({ status: 0, text: expect.stringContaining(`Successfully switched over to "${other?.name}"`) });
      expect((await cluster.untilHealthy()).name).toBe(other?.name ?? "");
      expect((await ctl.run("history", "-f", "json")).text).toContain(`"New Leader": "${other?.name}"`);
      expect(await ctl.run("restart", "demo", leader.name, "--force")).toMatchObject({
        status: 0,
        text: expect.stringContaining(`Success: restart on member ${leader.name}`),
      });
      const failed = await ctl.run("failover", "demo", "--candidate", leader.name, "--force");
      expect(failed).toMatchObject({ status: 0, text: expect.stringContaining(`Successfully failed over to "${leader.name}"`) });
      expect((await cluster.untilHealthy()).name).toBe(leader.name);
    });
  }, 120_000);

  test.concurrent("its sample configuration starts our node once the store is named and what it leaves open is filled in", async () => {
    await TestCluster.with({ nodes: ["sample"], start: false }, async (cluster) => {
      const node = cluster.node(0);
      const { apiPort, postgresPort, folder } = node.place;
      const filled = sampleConfig(patroni)
        .replace("scope: '#FIXME'", "scope: demo")
        .replace("data_dir: '#FIXME'", `data_dir: ${node.dataDir}`)
        .replaceAll("password: '#FIXME'", `password: ${PASSWORDS.superuser}`)
        .replaceAll("127.0.0.1:8008", `127.0.0.1:${apiPort}`)
        .replaceAll("127.0.0.1:5432", `127.0.0.1:${postgresPort}`)
        .replace("bin_dir: ''", `bin_dir: ${postgresBinDir()}`);
      expect(filled).not.toContain("#FIXME");
      const config = parse(filled) as Tree;
      // Not to disturb the machine: its sockets and its password file stay in the test's folder.
      const postgresql = config["postgresql"] as Tree;
      postgresql["pgpass"] = join(folder, "pgpass");
      postgresql["parameters"] = {
        ...(postgresql["parameters"] as Tree),
        unix_socket_directories: folder,
        dynamic_shared_memory_type: "mmap",
      };
      node.writeConfig({ ...config, name: "sample", consul: { url: cluster.consul.url } });
      node.start();
      await cluster.untilHealthy();
      const [row] = await cluster.sql<{ user: string; encryption: string }>(
        node,
        "select current_user as user, current_setting('password_encryption') as encryption",
      );
      expect(row).toEqual({ user: "postgres", encryption: "scram-sha-256" });
      expect(node.log).not.toMatch(/ (ERROR|CRITICAL): /);
    });
  }, 120_000);

  test.concurrent("one of its nodes and two of ours replicate, and switch over to it and back", async () => {
    const network = (index: number) => ({ host: "127.0.0.1", prefix: index === 2 ? insteadOfOurs(patroni) : [] });
    await TestCluster.with({ nodes: ["ours1", "ours2", "theirs"], network, start: false }, async (cluster) => {
      const theirs = cluster.node("theirs");
      for (const node of cluster.others(theirs)) node.start();
      const first = await cluster.untilHealthy({ nodes: cluster.others(theirs) });
      theirs.start();
      await cluster.untilHealthy();
      const writer = await cluster.writer();
      const ctl = new Patronictl(patroni, cluster);

      const there = await first.api("/switchover", {
        method: "POST",
        body: { leader: first.name, candidate: "theirs" },
        timeoutMs: 30_000,
      });
      expect(there).toMatchObject({ status: 200, text: 'Successfully switched over to "theirs"' });
      expect((await cluster.untilHealthy()).name).toBe("theirs");
      await writer.afterNowBy("theirs", 10_000);

      const own = ownCtl(cluster);
      const asLeader = /\| theirs +\| \S+ +\| Leader +\| running/;
      expect((await own.run(["list"])).text).toMatch(asLeader);
      expect(await own.run(["switchover", "--dry-run"])).toMatchObject({ status: 0, text: expect.stringContaining("Nothing was changed") });
      const back = await ctl.run("switchover", "demo", "--leader", "theirs", "--candidate", "ours2", "--force");
      expect(back).toMatchObject({ status: 0, text: expect.stringContaining('Successfully switched over to "ours2"') });
      expect((await cluster.untilHealthy()).name).toBe("ours2");
      await writer.afterNowBy("ours2", 10_000);
      expect(writer.overlaps()).toEqual([]);
      expect(await writer.lost(cluster.node("ours2"))).toEqual([]);
      const rows = await ctl.list();
      expect(rows.map((row) => [row["Member"], row["Role"], row["TL"]])).toEqual([
        ["ours1", "Replica", 3],
        ["ours2", "Leader", 3],
        ["theirs", "Replica", 3],
      ]);
    });
  }, 240_000);
});
