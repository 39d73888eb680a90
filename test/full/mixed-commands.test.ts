// Goal: patronictl 4.1 does each of its commands on a cluster of ours, and ctl does each of them on a cluster of Patroni's: an operator
// may use either on whatever runs. Method: one scenario for both, held against the list of commands that patronictl itself prints.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { type CtlTool, ownCtl, patronictl } from "../harness/ctl-tools.ts";
import { PASSWORDS } from "../harness/passwords.ts";
import { findPatroni, insteadOfOurs, type Patroni } from "../harness/patroni.ts";
import { until } from "../harness/wait.ts";

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);
const patroni = found as Patroni;

/** As the harness writes it into every node's file. */
const SECRETS = { PGPASSWORD: PASSWORDS.superuser };
const LIMIT_MS = 8 * 60_000;
/** Patroni's loops are 10 s long where nothing wakes them. */
const SEEN_WITHIN_MS = 60_000;

afterAll(() => TestCluster.stopAll());

describe.skipIf(typeof found === "string")("each command of patronictl", () => {
  test(
    "by patronictl itself on a cluster of ours",
    () => TestCluster.with({ nodes: 2, store: "consul" }, (cluster) => eachCommand(cluster, patronictl(patroni, cluster, SECRETS))),
    LIMIT_MS,
  );

  test(
    "by ctl on a cluster of Patroni's",
    () =>
      TestCluster.with({ nodes: 2, store: "consul", network: () => ({ host: "127.0.0.1", prefix: insteadOfOurs(patroni) }) }, (cluster) =>
        eachCommand(cluster, ownCtl(cluster, SECRETS)),
      ),
    LIMIT_MS,
  );
});

/** One run of a tool; what it was called with is kept. */
class Operator {
  readonly used = new Set<string>();
  readonly #tool: CtlTool;

  constructor(tool: CtlTool) {
    this.#tool = tool;
  }

  /** The text of a command that has to succeed, and has to say this. */
  async does(args: readonly [string, ...string[]], says: string | RegExp, input?: string): Promise<string> {
    const { status, text } = await this.#tool.run(args, input);
    this.used.add(args[0]);
    expect([args.join(" "), status, text]).toEqual([
      args.join(" "),
      0,
      says instanceof RegExp ? expect.stringMatching(says) : expect.stringContaining(says),
    ]);
    return text;
  }
}

async function eachCommand(cluster: TestCluster, tool: CtlTool): Promise<void> {
  const operator = new Operator(tool);
  const leader = await cluster.untilHealthy();
  const [replica] = cluster.others(leader);
  if (replica === undefined) throw new Error("two nodes are needed");
  await reads(cluster, operator, leader, replica);
  await changesConfiguration(cluster, operator, replica);
  await restarts(cluster, operator, replica);
  await changesLeader(cluster, operator, leader, replica);
  await changesSite(cluster, operator);
  await cluster.untilHealthy();
  await Promise.all(cluster.nodes.map((node) => node.terminate()));
  await operator.does(["remove", "demo"], "You are about to remove all information in DCS for demo", "demo\nYes I am aware\n");
  expect(await cluster.key("config")).toBeNull();

  const help = (await patronictl(patroni, cluster).run(["--help"])).text;
  const commands = [...help.slice(help.indexOf("Commands:")).matchAll(/^ {2}([a-z-]+) /gm)].map(([, name]) => name ?? "");
  expect(commands.length).toBeGreaterThan(15);
  expect([...operator.used].sort()).toEqual(commands.sort());
}

async function reads(cluster: TestCluster, operator: Operator, leader: ClusterNode, replica: ClusterNode): Promise<void> {
  const rows = JSON.parse(await operator.does(["list", "-f", "json"], "")) as readonly Readonly<Record<string, unknown>>[];
  expect(rows.map((row) => [row["Cluster"], row["Member"], row["Role"], row["State"], row["TL"]])).toEqual(
    cluster.nodes.map((node) => ["demo", node.name, node === leader ? "Leader" : "Replica", node === leader ? "running" : "streaming", 1]),
  );
  await operator.does(["list"], /^\+ Cluster: demo \(\d{19}\) /);
  await operator.does(["list", "-f", "tsv"], "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\n");
  await operator.does(["list", "-f", "yaml"], "- Cluster: demo\n");
  await operator.does(["list", "-e"], "| Pending restart | Pending restart reason | Scheduled restart | Tags |");
  await operator.does(["topology"], `| + ${replica.name} `);
  await operator.does(["dsn", "demo"], `host=127.0.0.1 port=${leader.place.postgresPort}\n`);
  await operator.does(["dsn", "demo", "-r", "replica"], `port=${replica.place.postgresPort}\n`);
  const sql = ["-U", "postgres", "-d", "postgres", "--format", "json", "-c", "select 1 as one"];
  await operator.does(["query", "demo", "-r", "replica", ...sql], '[{"one": 1}]');
  await operator.does(["version", "demo"], new RegExp(`^${leader.name}: Patroni 4\\.\\d+\\.\\d+ PostgreSQL \\d+\\.\\d+`, "m"));
}

async function changesConfiguration(cluster: TestCluster, operator: Operator, replica: ClusterNode): Promise<void> {
  await operator.does(
    ["edit-config", "demo", "--force", "-s", "maximum_lag_on_failover=2097152", "-p", "work_mem=7MB"],
    "Configuration changed",
  );
  await operator.does(["show-config", "demo"], "maximum_lag_on_failover: 2097152\n");
  const works = async () => (await cluster.sql(replica, "select current_setting('work_mem') as w"))[0]?.["w"] === "7MB";
  await until("work_mem of the replica", works, { withinMs: SEEN_WITHIN_MS, everyMs: 100 });
  await operator.does(["reload", "demo", replica.name, "--force"], /Reload request received for member|No changes to apply on member/);
  await operator.does(["pause", "demo", "--wait"], "Success: cluster management is paused");
  await operator.does(["list"], " Maintenance mode: on");
  await operator.does(["resume", "demo", "--wait"], "Success: cluster management is resumed");
}

async function restarts(cluster: TestCluster, operator: Operator, replica: ClusterNode): Promise<void> {
  await operator.does(["restart", "demo", replica.name, "--force"], `Success: restart on member ${replica.name}`);
  await cluster.untilHealthy();
  await operator.does(
    ["restart", "demo", replica.name, "--scheduled", "2099-01-01T00:00Z", "--force"],
    `Success: restart scheduled on member ${replica.name}`,
  );
  await until(
    "the appointment is published",
    async () => /2099-01-01T00:00:00/.test((await cluster.key(`members/${replica.name}`))?.value ?? ""),
    {
      withinMs: SEEN_WITHIN_MS,
      everyMs: 100,
    },
  );
  await operator.does(["list"], "2099-01-01T00:00:00+00:00");
  await operator.does(["flush", "demo", "restart", "--force"], `Success: flush scheduled restart for member ${replica.name}`);
  await operator.does(["reinit", "demo", replica.name, "--force", "--wait"], `Reinitialize is completed on: ${replica.name}`);
  await cluster.untilHealthy();
}

async function changesLeader(cluster: TestCluster, operator: Operator, leader: ClusterNode, replica: ClusterNode): Promise<void> {
  await operator.does(["switchover", "demo", "--scheduled", "2099-01-01T00:00Z", "--force"], "Switchover scheduled");
  await operator.does(["list"], ` Switchover scheduled at: 2099-01-01T00:00:00+00:00\n                    from: ${leader.name}\n`);
  await operator.does(["flush", "demo", "switchover", "--force"], "Success: scheduled switchover deleted");
  await operator.does(
    ["switchover", "demo"],
    `Successfully switched over to "${replica.name}"`,
    `${leader.name}\n${replica.name}\nnow\ny\n`,
  );
  await cluster.untilHealthy();
  await operator.does(["failover", "demo", "--candidate", leader.name, "--force"], `Successfully failed over to "${leader.name}"`);
  await cluster.untilHealthy();
  await operator.does(["history", "demo", "-f", "json"], `"New Leader": "${replica.name}"`);
}

/** Nobody is at that address: the leader follows it all the same, as far as it can. */
async function changesSite(cluster: TestCluster, operator: Operator): Promise<void> {
  await operator.does(["demote-cluster", "demo", "--force", "--host", "127.0.0.1", "--port", "9"], "cluster is successfully demoted");
  await operator.does(["list"], "Standby Leader");
  await operator.does(["promote-cluster", "demo", "--force"], "cluster is successfully promoted");
  await cluster.untilLeader();
}
