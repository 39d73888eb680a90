// Goal: an operator can look after a cluster from a shell with ctl, and a connection string of it finds the primary.
// Method: the real program as a process of its own, on one real cluster for all tests; the nodes themselves are asked what came of it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findPostgres } from "../../lib/cli/quickstart/programs.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { PASSWORDS } from "../harness/passwords.ts";
import { onOwnTerminal } from "../harness/terminal.ts";
import { until } from "../harness/wait.ts";

const CTL = join(import.meta.dir, "../../scripts/ctl.ts");
const LIMIT_MS = 60_000;

let cluster: TestCluster;
let config: string;

beforeAll(async () => {
  cluster = await TestCluster.shared();
  await cluster.untilHealthy();
  config = join(cluster.folder, "ctl.yml");
  writeFileSync(config, JSON.stringify({ scope: cluster.scope, ...cluster.storeClient.section }), { mode: 0o600 });
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll());

interface CtlAnswer {
  readonly status: number;
  readonly out: string;
  readonly complaints: string;
}

/** `input`: standard input; by default it ends at once. `before`: options before the command. */
async function ctl(
  args: readonly string[],
  options: { readonly input?: string; readonly env?: Readonly<Record<string, string>>; readonly before?: readonly string[] } = {},
): Promise<CtlAnswer> {
  const child = Bun.spawn([process.execPath, "run", CTL, "-c", config, ...(options.before ?? []), ...args], {
    cwd: "/",
    env: { ...process.env, ...options.env },
    stdin: options.input === undefined ? "ignore" : new Blob([options.input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, complaints] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { status: await child.exited, out, complaints };
}

/** ctl on a terminal of its own; what it wrote so far. */
function onTerminal(args: readonly string[]) {
  const command = onOwnTerminal([process.execPath, "run", CTL, "-c", config, ...args]);
  const child = Bun.spawn(command, { cwd: "/", stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const seen = { text: "" };
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) seen.text += decoder.decode(chunk, { stream: true });
  })();
  return {
    get text() {
      return seen.text.trimEnd();
    },
    until: (wanted: string | RegExp) =>
      until(
        `the terminal shows ${wanted}`,
        async () => (typeof wanted === "string" ? seen.text.includes(wanted) : wanted.test(seen.text)),
        {
          withinMs: LIMIT_MS,
          everyMs: 50,
        },
      ),
    type: (text: string) => {
      child.stdin.write(text);
      child.stdin.flush();
    },
    status: async () => {
      const status = await child.exited;
      await reading;
      return status;
    },
  };
}

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

/** Who leads, and one who does not. */
async function roles(): Promise<{ readonly leader: ClusterNode; readonly replica: ClusterNode }> {
  const leader = await cluster.untilHealthy();
  return { leader, replica: cluster.others(leader)[0] as ClusterNode };
}

function psql(connection: string, sql: string): string {
  const beside = join(findPostgres(), "psql");
  const asked = spawnSync(existsSync(beside) ? beside : "psql", ["-Atqc", sql, "-d", connection], {
    encoding: "utf8",
    timeout: 20_000,
    env: { ...process.env, PGPASSWORD: PASSWORDS.superuser },
  });
  if (asked.status !== 0) throw new Error(asked.stderr);
  return asked.stdout.trim();
}

async function configNow(): Promise<Readonly<Record<string, unknown>>> {
  return JSON.parse((await cluster.key("config"))?.value ?? "{}") as Readonly<Record<string, unknown>>;
}

describe("list", () => {
  scenario("shows every member as its node says it is, in each format", async () => {
    const { leader } = await roles();
    const rows = JSON.parse((await ctl(["list", "-f", "json"])).out) as readonly Record<string, unknown>[];
    expect(rows.map((row) => [row["Member"], row["Role"], row["State"]])).toEqual(
      cluster.nodes.map((node) => (node === leader ? [node.name, "Leader", "running"] : [node.name, "Replica", "streaming"])),
    );
    const pretty = await ctl(["list"]);
    expect(pretty).toMatchObject({ status: 0, complaints: "" });
    expect(pretty.out).toMatch(/^\+ Cluster: demo \(\d{19}\) -*\+/);
    expect(pretty.out).toContain(`| ${leader.name}  | 127.0.0.1:${leader.place.postgresPort} | Leader  | running   |`);
    expect((await ctl(["list", cluster.scope, "-f", "tsv"])).out.split("\n")).toHaveLength(cluster.nodes.length + 2);
    expect((await ctl(["topology"])).out).toContain("| + node");
  });

  scenario("goes by -d alone, and says so where the store is away", async () => {
    const without = join(cluster.folder, "nothing.yml");
    writeFileSync(without, `scope: ${cluster.scope}\n`);
    const { url, secrets } = cluster.storeClient;
    const named = await ctl(["-c", without, "-d", url, "list", cluster.scope], { env: secrets });
    expect(named).toMatchObject({ status: 0, complaints: "" });
    expect(await ctl(["list", "-d", `${cluster.store}://127.0.0.1:1`])).toMatchObject({
      status: 1,
      complaints: expect.stringMatching(/^Error: the DCS is not available/),
    });
  });
});

describe("the dynamic configuration", () => {
  scenario("is changed after a yes, shown as a diff first, and left alone after a no", async () => {
    const before = await configNow();
    const no = await ctl(["edit-config", "-s", "maximum_lag_on_failover=2097152"], { input: "n\n" });
    expect(no.status).toBe(1);
    expect(no.out).toContain("+maximum_lag_on_failover: 2097152\n");
    expect(await configNow()).toEqual(before);
    const yes = await ctl(["edit-config", "-s", "maximum_lag_on_failover=2097152", "-p", "work_mem=7MB"], { input: "y\n" });
    expect(yes.status).toBe(0);
    expect(yes.out).toEndWith("Apply these changes? [y/N]: Configuration changed\n");
    const shown = (await ctl(["show-config"])).out;
    expect(shown).toContain("maximum_lag_on_failover: 2097152\n");
    expect(shown).toContain("    work_mem: 7MB\n");
    expect((await ctl(["edit-config", "-s", "maximum_lag_on_failover=2097152", "--force"])).out).toBe("Not changed\n");
  });

  scenario("is merged from a file, replaced by one, and edited", async () => {
    const before = await configNow();
    const merged = await ctl(["edit-config", "--apply", "-", "--force", "-q"], {
      input: "maximum_lag_on_failover: null\ncheck_timeline: on\n",
    });
    expect(merged).toMatchObject({ status: 0, out: "Configuration changed\n" });
    expect(await configNow()).toMatchObject({ check_timeline: true, ttl: before["ttl"] });
    expect(Object.keys(await configNow())).not.toContain("maximum_lag_on_failover");
    const file = join(cluster.folder, "whole.yml");
    writeFileSync(file, JSON.stringify(before));
    expect((await ctl(["edit-config", "--replace", file, "--force"])).status).toBe(0);
    expect(await configNow()).toEqual(before);
    const edited = await ctl(["edit-config", "--force"], { env: { EDITOR: "sed -i s/^loop_wait:.*/loop_wait:\\ 3/" } });
    expect(edited.out).toContain("+loop_wait: 3\n");
    expect((await ctl(["edit-config", "--replace", file, "--force"])).status).toBe(0);
  });

  scenario("that changed while the operator was editing is not overwritten", async () => {
    const editor = join(cluster.folder, "slow-editor");
    // Another operator is faster than this one.
    writeFileSync(
      editor,
      `#!/bin/sh\n${process.execPath} run ${CTL} -c ${config} edit-config -s check_timeline=on --force >&2\necho 'ttl: 99' > "$1"\n`,
      {
        mode: 0o755,
      },
    );
    const late = await ctl(["edit-config", "--force"], { env: { EDITOR: editor } });
    expect(late.status).toBe(1);
    expect(late.complaints).toContain("aborted due to concurrent changes");
    expect(await configNow()).toMatchObject({ check_timeline: true, ttl: 20 });
    expect((await ctl(["edit-config", "-s", "check_timeline=null", "--force"])).status).toBe(0);
  });

  scenario("is recorded with each change, also one made past ctl, and goes back to what it was", async () => {
    const shown = async () => (await ctl(["show-config"])).out;
    const before = await shown();
    expect((await ctl(["edit-config", "-s", "maximum_lag_on_failover=3000000", "--force"])).status).toBe(0);
    await cluster.patchConfig({ maximum_lag_on_failover: 4000000 });
    const history = (await ctl(["show-config", "--history", "-f", "json"])).out;
    const rows = JSON.parse(history) as readonly { readonly Number?: number; readonly By: string; readonly Changes: readonly string[] }[];
    expect(rows.at(-2)?.Changes).toEqual([expect.stringMatching(/^maximum_lag_on_failover: .* -> 3000000$/)]);
    expect(rows.at(-1)).toEqual({ By: "not by ctl", Changes: ["maximum_lag_on_failover: 3000000 -> 4000000"] });
    expect((await ctl(["edit-config", "--undo", "--force"])).out).toContain("-maximum_lag_on_failover: 4000000\n");
    expect(await shown()).toBe(before);
    expect(await ctl(["edit-config", "--undo", "99999", "--force"])).toMatchObject({
      status: 1,
      complaints: expect.stringContaining("Error: There is no change 99999"),
    });
    expect((await ctl(["edit-config", "--undo", "-s", "ttl=20"])).status).toBe(2);
  });

  scenario("with a value that nodes will not take is warned of before it is written", async () => {
    const asked = await ctl(["edit-config", "-s", "ttl=soon"], { input: "n\n" });
    expect(asked.complaints).toMatch(/^Warning: ttl: "soon" is not /);
  });
});

describe("maintenance mode", () => {
  scenario("begins and ends on all members, once each", async () => {
    await roles();
    const paused = await ctl(["pause", "--wait"]);
    expect(paused).toEqual({
      status: 0,
      out: "'pause' request sent, waiting until it is recognized by all nodes\nSuccess: cluster management is paused\n",
      complaints: "",
    });
    expect((await ctl(["list"])).out).toEndWith(" Maintenance mode: on\n");
    expect(await ctl(["pause"])).toMatchObject({ status: 1, complaints: "Error: Cluster is already paused\n" });
    expect(await ctl(["switchover", "--force", "--scheduled", "2099-01-01T00:00Z"])).toMatchObject({
      status: 1,
      complaints: "Error: Can't schedule switchover in the paused state\n",
    });
    expect((await ctl(["resume", "--wait"])).out).toEndWith("Success: cluster management is resumed\n");
    expect(await ctl(["resume"])).toMatchObject({ status: 1, complaints: "Error: Cluster is not paused\n" });
    expect(Object.keys(await configNow())).not.toContain("pause");
  });
});

describe("a change of the leader", () => {
  scenario("asks whom, when and whether, and does what was answered", async () => {
    const { leader, replica } = await roles();
    const no = await ctl(["switchover"], { input: `\n${replica.name}\nnow\nn\n` });
    expect(no).toMatchObject({ status: 1, complaints: "Error: Aborting switchover\n" });
    expect(no.out).toContain(`Primary [${leader.name}]: Candidate [`);
    expect((await ctl(["switchover"])).complaints).toBe("Aborted!\n");
    expect(await cluster.untilLeader()).toBe(leader);
    const yes = await ctl(["switchover"], { input: `\n${replica.name}\n\ny\n` });
    expect(yes.status).toBe(0);
    expect(yes.out).toMatch(new RegExp(`\\d{4}-\\d\\d-\\d\\d \\S+ Successfully switched over to "${replica.name}"$`, "m"));
    expect(await cluster.untilLeader()).toBe(replica);
    const again = await cluster.untilHealthy();
    const failed = await ctl(["failover", "--candidate", leader.name, "--force"]);
    expect(failed.out).toContain(`Successfully failed over to "${leader.name}"`);
    expect(again).toBe(replica);
    expect(await cluster.untilHealthy()).toBe(leader);
    expect((await ctl(["history", "-f", "json"])).out).toContain(`"New Leader": "${leader.name}"`);
  });

  scenario("is refused where it cannot be meant, and nothing changes", async () => {
    const { leader, replica } = await roles();
    for (const [args, complaint] of [
      [["switchover", "--leader", replica.name, "--force"], `Member ${replica.name} is not the leader of cluster demo`],
      [["switchover", "--candidate", leader.name, "--force"], `Member ${leader.name} is already the leader of cluster demo`],
      [["switchover", "--candidate", "nobody", "--force"], "Member nobody does not exist in cluster demo or is tagged as nofailover"],
      [["switchover", "--scheduled", "soon", "--force"], "Unable to parse scheduled timestamp (soon)"],
      [
        ["switchover", "--scheduled", "2020-01-01T00:00Z", "--force"],
        "Switchover failed, details: 422, Cannot schedule switchover in the past",
      ],
      [["failover", "--force"], "Failover could be performed only to a specific candidate"],
    ] as const) {
      const refused = await ctl(args);
      expect([refused.status, refused.complaints]).toEqual([1, expect.stringContaining(`Error: ${complaint}`)]);
    }
    expect(await cluster.untilLeader()).toBe(leader);
  });

  scenario("can be tried dry: who would lead, who could not and why; nothing changes", async () => {
    const { leader } = await roles();
    const request = await cluster.key("failover");
    const dry = await ctl(["switchover", "--dry-run", "-f", "json"]);
    expect(dry.status).toBe(0);
    const rows = JSON.parse(dry.out) as readonly Readonly<Record<string, unknown>>[];
    expect(rows.map((row) => [row["Member"], row["May lead"], row["Why not"]])).toEqual(
      cluster.others(leader).map((node) => [node.name, "yes, would", undefined]),
    );
    await cluster.patchConfig({ maximum_lag_on_failover: 4000000, synchronous_mode: true });
    const [synchronous = ""] = await until(
      "a synchronous standby",
      async () => ((await cluster.syncStandbys()).length > 0 ? cluster.syncStandbys() : null),
      {
        withinMs: 30_000,
      },
    );
    const [other] = cluster.others(leader, cluster.node(synchronous));
    const refused = await ctl(["switchover", "--candidate", other?.name ?? "", "--dry-run"]);
    expect(refused.status).toBe(1);
    expect(refused.out).toContain("it is not a synchronous standby: it may lack commits that were acknowledged");
    expect(refused.out).toContain("It would be refused: candidate name does not match with sync_standby\n");
    await cluster.patchConfig({ synchronous_mode: null });
    expect(await cluster.key("failover")).toEqual(request);
    expect(await cluster.untilHealthy()).toBe(leader);
  });

  scenario("is told step by step on a terminal, and seen at once in a live list", async () => {
    const { leader, replica } = await roles();
    const view = onTerminal(["list", "-w", "600"]);
    await view.until("Ctrl-C ends");
    const change = onTerminal(["switchover", "--candidate", replica.name, "--force"]);
    await change.until(`Successfully switched over to "${replica.name}"`);
    expect(await change.status()).toBe(0);
    expect(change.text).toMatch(new RegExp(` \\d+\\.\\d s {2}.*${leader.name} no longer leads|the leader is ${replica.name} instead of`));
    // Not after 600 s, but because the cluster has changed.
    await view.until(new RegExp(`${replica.name} leads|the leader is ${replica.name} instead of ${leader.name}`));
    view.type("\x03");
    expect(await view.status()).toBe(0);
    expect(view.text).toEndWith("\x1b[?25h");
    expect(await cluster.untilHealthy()).toBe(replica);
    expect((await ctl(["switchover", "--force"])).status).toBe(0);
  });

  scenario("may be scheduled, is shown, and is dropped again", async () => {
    const { leader } = await roles();
    expect((await ctl(["switchover", "--scheduled", "2099-01-01T00:00Z", "--force"])).out).toContain(" Switchover scheduled\n");
    const shown = (await ctl(["list"])).out;
    expect(shown).toContain(` Switchover scheduled at: 2099-01-01T00:00:00+00:00\n                    from: ${leader.name}\n`);
    expect(await ctl(["flush", "switchover"])).toMatchObject({ status: 0, out: "Success: scheduled switchover deleted\n" });
    expect((await ctl(["flush", "demo", "switchover"])).out).toBe("No pending scheduled switchover\n");
  });

  scenario("leaves a connection string of all members with the primary, from the first try on", async () => {
    const { leader } = await roles();
    const all = `${(await ctl(["dsn", "--all"])).out.trim()} user=postgres dbname=postgres connect_timeout=5`;
    const standby = (await ctl(["dsn", "--all", "-r", "replica"])).out.trim();
    expect(standby).toEndWith("target_session_attrs=prefer-standby");
    psql(all, "create table if not exists seen (port int)");
    for (let round = 0; round < 2; round++) {
      const now = await cluster.untilHealthy();
      expect(psql(all, "insert into seen select inet_server_port() returning port")).toBe(String(now.place.postgresPort));
      expect(psql(`${standby} user=postgres dbname=postgres`, "select pg_is_in_recovery()")).toBe("t");
      expect((await ctl(["switchover", "--force"])).status).toBe(0);
    }
    expect(psql(all, "select pg_is_in_recovery()")).toBe("f");
    expect((await ctl(["dsn", "-m", leader.name])).out).toBe(`host=127.0.0.1 port=${leader.place.postgresPort}\n`);
  });
});

describe("members", () => {
  scenario("are restarted, now or later", async () => {
    const { replica } = await roles();
    const [before] = await cluster.sql<{ at: string }>(replica, "select pg_postmaster_start_time()::text as at");
    expect((await ctl(["restart", "demo", replica.name, "--force"])).out).toEndWith(`Success: restart on member ${replica.name}\n`);
    const [after] = await cluster.sql<{ at: string }>(replica, "select pg_postmaster_start_time()::text as at");
    expect(after).not.toEqual(before as { at: string });
    await cluster.untilHealthy();
    const later = ["restart", "demo", replica.name, "--scheduled", "2099-01-01T00:00Z", "--force"];
    expect((await ctl(later)).out).toEndWith(`Success: restart scheduled on member ${replica.name}\n`);
    await until("the schedule is listed", async () => (await ctl(["list"])).out.includes("2099-01-01T00:00:00+00:00"), {
      withinMs: 30_000,
    });
    expect((await ctl(later)).out).toEndWith(`Success: restart scheduled on member ${replica.name}\n`);
    expect((await ctl(["flush", "demo", "restart", "--force"])).out).toContain(
      `Success: flush scheduled restart for member ${replica.name}\n`,
    );
    expect(await ctl(["restart", "demo", "nobody", "--force"])).toMatchObject({
      status: 1,
      complaints: "Error: nobody is not a member of cluster demo\n",
    });
  });

  scenario("read their files again, tell their versions, and answer SQL", async () => {
    const { leader, replica } = await roles();
    expect((await ctl(["reload", "demo", replica.name, "--force"])).out).toContain(`Reload request received for member ${replica.name}`);
    expect((await ctl(["version", "demo"])).out).toMatch(new RegExp(`^${leader.name}: Patroni 4\\.1\\.5 PostgreSQL \\d+\\.\\d+`, "m"));
    const env = { PGPASSWORD: PASSWORDS.superuser };
    const asked = await ctl(
      [
        "query",
        "-U",
        "postgres",
        "-d",
        "postgres",
        "-r",
        "replica",
        "-c",
        "select pg_is_in_recovery() as standby, null as n",
        "--format",
        "json",
      ],
      { env },
    );
    expect(asked).toEqual({ status: 0, out: '[{"standby": true, "n": null}]\n', complaints: "" });
    const wrong = await ctl(["query", "-U", "postgres", "-d", "postgres", "-c", "select 1/0"], { env });
    expect(wrong).toMatchObject({ status: 1, complaints: "Error: division by zero (SQLSTATE 22012)\n" });
  });

  scenario("are cloned again, and waited for", async () => {
    const { leader, replica } = await roles();
    const cloned = await ctl(["reinit", "demo", replica.name, "--force", "--wait"]);
    expect(cloned.status).toBe(0);
    expect(cloned.out).toEndWith(
      `Waiting for reinitialize to complete on: ${replica.name}\nReinitialize is completed on: ${replica.name}\n`,
    );
    expect(await ctl(["reinit", "demo", leader.name, "--force"])).toMatchObject({
      status: 1,
      complaints: "Error: No replica among provided members\n",
    });
    expect(await cluster.untilHealthy()).toBe(leader);
  });
});

describe("through the REST API of a node alone", () => {
  scenario("a cluster is listed, configured and led elsewhere as through its store; what only the store can do is refused", async () => {
    const { leader, replica } = await roles();
    // Nobody listens at the first address: the next one is asked.
    const nodes = ["127.0.0.1:1", ...cluster.nodes.map(({ place }) => `127.0.0.1:${place.apiPort}`)].join(",");
    const through = (args: readonly string[]) => ctl(args, { before: ["-d", `api://${nodes}`] });
    // Positions still move after what the test before did: the two are asked one after the other.
    for (const format of ["json", "tsv"]) {
      const both = async () => [(await through(["list", "-f", format])).out, (await ctl(["list", "-f", format])).out] as const;
      let last: readonly [string, string] = ["", "-"];
      const same = async () => {
        last = await both();
        return last[0] === last[1];
      };
      await until("both ways list the same", same, { withinMs: 20_000, everyMs: 100 }).catch(() => expect(last[0]).toBe(last[1]));
    }
    expect((await through(["show-config"])).out).toBe((await ctl(["show-config"])).out);
    expect((await through(["history", "-f", "json"])).out).toBe((await ctl(["history", "-f", "json"])).out);
    const edited = await through(["edit-config", "-s", "maximum_lag_on_failover=5000000", "--force"]);
    expect(edited).toMatchObject({ status: 0, complaints: expect.stringContaining("Warning: the change is not recorded") });
    expect((await ctl(["show-config"])).out).toContain("maximum_lag_on_failover: 5000000\n");
    expect((await through(["pause", "--wait"])).out).toEndWith("Success: cluster management is paused\n");
    expect((await through(["resume", "--wait"])).out).toEndWith("Success: cluster management is resumed\n");
    const switched = await through(["switchover", "--candidate", replica.name, "--force"]);
    expect(switched.out).toContain(`Successfully switched over to "${replica.name}"`);
    expect(await cluster.untilHealthy()).toBe(replica);
    expect((await through(["switchover", "--candidate", leader.name, "--force"])).status).toBe(0);
    const refused = await through(["list", "another"]);
    expect(refused).toMatchObject({ status: 1, complaints: expect.stringContaining("belongs to the cluster demo") });
    const removed = await ctl(["remove"], {
      before: ["-d", `api://${nodes}`],
      input: `demo\nYes I am aware\n${(await cluster.untilHealthy()).name}\n`,
    });
    expect(removed).toMatchObject({ status: 1, complaints: expect.stringContaining("a node's API removes no keys") });
  });
});

describe("without a member that answers", () => {
  const read = (path: string) => cluster.sight.key(`service/silent/${path}`);
  const put = (path: string, value: unknown) =>
    cluster.sight.putKey(`service/silent/${path}`, typeof value === "string" ? value : JSON.stringify(value));

  scenario("a change of the leader is left in the DCS for whoever leads next; the cluster can be removed", async () => {
    for (const [name, role] of [
      ["a", "primary"],
      ["b", "replica"],
    ] as const) {
      await put(`members/${name}`, {
        conn_url: "postgres://127.0.0.1:1/postgres",
        api_url: "http://127.0.0.1:1/patroni",
        role,
        state: "running",
      });
    }
    await put("leader", "a");
    await put("config", { ttl: 20 });
    const asked = await ctl(["switchover", "silent", "--candidate", "b", "--force"]);
    expect(asked.status).toBe(0);
    expect(asked.complaints).toContain("falling back to DCS");
    expect(JSON.parse((await read("failover"))?.value ?? "null")).toEqual({ leader: "a", member: "b" });
    expect(await ctl(["pause", "silent"])).toMatchObject({
      status: 1,
      complaints: expect.stringContaining("Can not find accessible cluster member"),
    });
    const wrong = await ctl(["remove", "silent"], { input: "silent\nYes I am aware\nb\n" });
    expect(wrong.complaints).toBe("Error: You did not specify the current leader of the cluster\n");
    expect((await read("leader"))?.value).toBe("a");
    expect((await ctl(["remove", "silent"], { input: "silent\nYes I am aware\na\n" })).status).toBe(0);
    expect(await read("leader")).toBeNull();
  });
});
