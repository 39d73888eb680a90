// Goal: what real nodes measure and tell is what happened to them. Method: one cluster of three, a switchover with a reader of
// the new leader's events, then the end of the primary's supervisor; node3 may not lead, and logs in
// JSON.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MemberExplained } from "../../lib/core/explain.ts";
import type { NodeEvent } from "../../lib/model/event.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { readExposition } from "../harness/exposition.ts";
import { until } from "../harness/wait.ts";

const CTL = join(import.meta.dir, "../../scripts/ctl.ts");
const PATIENCE = { withinMs: 60_000 };
let cluster: TestCluster;
let leader: ClusterNode;
/** Where a hook writes what it is told. */
const books = mkdtempSync(join(tmpdir(), "hooks-"));
// The nodes run as another user.
chmodSync(books, 0o777);

function book(name: string): string {
  return join(books, name);
}

beforeAll(async () => {
  cluster = await TestCluster.shared({
    extra: (index, name) => ({
      hooks: { book: { command: `sh -c 'cat >> ${book(name)}'`, events: ["failover", "leader"] } },
      ...(index === 2 ? { tags: { nofailover: true }, log: { type: "json", format: ["levelname", "message"] } } : {}),
    }),
  });
  leader = await cluster.untilHealthy();
}, 90_000);
afterAll(async () => {
  await TestCluster.stopAll();
  rmSync(books, { recursive: true, force: true });
});

async function events(node: ClusterNode, query = ""): Promise<readonly NodeEvent[]> {
  return ((await node.api(`/events${query}`)).json as { events: readonly NodeEvent[] }).events;
}

async function measure(node: ClusterNode, name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
  const { faults, samples } = readExposition((await node.api("/metrics")).text);
  expect(faults).toEqual([]);
  const found = samples.find((one) => one.name === name && Object.entries(labels).every(([label, value]) => one.labels[label] === value));
  if (found === undefined) throw new Error(`${node.name} shows no ${name} ${JSON.stringify(labels)}`);
  return found.value;
}

/** What ctl prints. Throws Error where it fails. */
async function ctl(...words: readonly string[]): Promise<string> {
  const child = Bun.spawn([process.execPath, CTL, ...words], { stdout: "pipe", stderr: "pipe" });
  const [out, complaints, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (status !== 0) throw new Error(`ctl ${words.join(" ")}: ${status} ${complaints}`);
  return out;
}

/** The phases of the node's last takeover, by its events. */
async function phases(node: ClusterNode): Promise<readonly string[]> {
  const told = await events(node, "?kind=failover");
  return told.slice(-4).map((event) => (event.kind === "failover" ? `${event.phase} ${event.cause} ${event.former}` : event.kind));
}

/** Opens the node's event stream: what happens from then on is in it. */
async function eventStream(node: ClusterNode): Promise<ReadableStream<Uint8Array>> {
  const response = await fetch(`${node.apiUrl}/events`, { headers: { accept: "text/event-stream" } });
  if (response.body === null) throw new Error("an empty stream");
  return response.body;
}

/** Reads it until `enough` has seen an event; resolves to all that came. */
async function follow(stream: ReadableStream<Uint8Array>, enough: (event: NodeEvent) => boolean): Promise<readonly NodeEvent[]> {
  const seen: NodeEvent[] = [];
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("data: ")) seen.push(JSON.parse(line.slice(6)));
    if (seen.some(enough)) return seen;
  }
  throw new Error(`the stream has ended after ${seen.map(({ text }) => text).join("; ")}`);
}

interface Explained {
  readonly name: string;
  readonly members: readonly MemberExplained[];
  readonly last_race: NodeEvent | null;
}

async function explained(by: ClusterNode): Promise<Explained> {
  return (await by.api("/explain")).json as Explained;
}

describe("what a cluster tells of itself", () => {
  test("the measures of a healthy cluster: leases, guards, requests to the store, cycles, rules", () =>
    cluster.during(async () => {
      for (const node of cluster.nodes) {
        const leads = node === leader;
        expect((await measure(node, "matriarch_lease_remaining_seconds")) > 0).toBe(leads);
        expect(await measure(node, "matriarch_guard_healthy")).toBe(leads ? 1 : 0);
        expect(await measure(node, "matriarch_ha_cycle_seconds_count")).toBeGreaterThan(0);
        expect(await measure(node, "matriarch_dcs_request_seconds_count", { request: "snapshot" })).toBeGreaterThan(0);
        expect(await measure(node, "matriarch_failovers_total", { cause: "switchover" })).toBe(0);
      }
      expect(await measure(leader, "matriarch_rule_decisions_total", { rule: "bootstrap-claim" })).toBeGreaterThan(0);
      if (cluster.store === "raft") expect(await measure(leader, "matriarch_raft_voters_connected")).toBe(3);
    }));

  test("a switchover: its phases to whoever listens, in the measures, and in the order of ids", () =>
    cluster.during(async () => {
      const former = leader;
      const candidate = cluster.others(former).find(({ name }) => name !== "node3");
      if (candidate === undefined) throw new Error("no candidate");
      const reading = follow(await eventStream(candidate), (event) => event.kind === "failover" && event.phase === "writable");
      const body = { leader: former.name, candidate: candidate.name };
      expect((await former.api("/switchover", { method: "POST", body, timeoutMs: 40_000 })).status).toBe(200);
      const seen = await reading;
      const numbers = seen.map(({ id }) => Number(id.split("-")[1]));
      expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
      expect(seen.filter(({ kind }) => kind === "failover").map((event) => event.kind === "failover" && event.phase)).toEqual([
        "detected",
        "lock",
        "promoted",
        "writable",
      ]);
      expect(seen.find((event) => event.kind === "decision" && event.rule === "race")).toMatchObject({
        effect: "acquire-lock",
        facts: { lock: "free", request: { leader: former.name, candidate: candidate.name } },
      });
      leader = await cluster.untilHealthy();
      expect(leader).toBe(candidate);
      expect(await measure(leader, "matriarch_failovers_total", { cause: "switchover" })).toBe(1);
      for (const phase of ["lock", "promoted", "writable"])
        expect(await measure(leader, "matriarch_failover_phase_seconds_count", { phase })).toBe(1);
      expect(await measure(leader, "matriarch_failover_seconds_count")).toBe(1);
      const told = (await events(former)).map(({ kind, text }) => `${kind}: ${text}`);
      expect(told).toContain(`leader: ${candidate.name} leads`);
    }));

  test("a primary that is stopped: who takes over tells that nobody asked for it, and the other one sees it lead", () =>
    cluster.during(async () => {
      const former = leader;
      const rest = cluster.others(former);
      await former.terminate();
      leader = await cluster.untilLeader({ among: rest });
      await until("the new leader has told all phases", async () => (await phases(leader)).at(-1)?.startsWith("writable"), PATIENCE);
      expect(await phases(leader)).toEqual(
        ["detected", "lock", "promoted", "writable"].map((phase) => `${phase} automatic ${former.name}`),
      );
      const written = (): readonly NodeEvent[] => {
        const lines = readFileSync(book(leader.name), "utf8").split("\n").slice(0, -1);
        return lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === "failover");
      };
      await until(
        "the hook was told all phases",
        () => written().some((event) => event.kind === "failover" && event.phase === "writable"),
        PATIENCE,
      );
      expect(written()).toEqual((await events(leader, "?kind=failover")) as NodeEvent[]);
      for (const node of rest) {
        const sees = async () => (await events(node)).some(({ kind, text }) => kind === "leader" && text === `${leader.name} leads`);
        await until(`${node.name} tells of the new leader`, sees, PATIENCE);
      }
    }));

  test("why a member is not promoted: by every node, and by ctl", () =>
    cluster.during(async () => {
      expect((await explained(leader)).last_race).toMatchObject({ kind: "decision", rule: "race", effect: "acquire-lock" });
      for (const by of cluster.nodes.filter(({ pid }) => pid !== null)) {
        const { members } = await explained(by);
        expect(members.find(({ name }) => name === leader.name)).toMatchObject({ leads: true, promotable: false });
        const barred = members.find(({ name }) => name === "node3");
        expect(barred?.obstacles.map(({ rule }) => rule)).toContain("race-nofailover");
        expect(barred?.switchover.obstacles).toContain("it is tagged nofailover");
      }
      const config = join(cluster.folder, "ctl.yml");
      writeFileSync(config, JSON.stringify({ scope: cluster.scope, ...cluster.storeClient.section }), { mode: 0o600 });
      const said = await ctl("-c", config, "explain");
      expect(said).toContain("it is tagged nofailover, or has failover_priority 0 (race-nofailover)");
      expect(await ctl("-c", config, "explain", cluster.scope, leader.name)).toMatch(
        new RegExp(`When nobody led last, at \\S+, ${leader.name} decided: .*I am the healthiest node: acquiring the lock \\(race\\)`),
      );
    }));

  test("a log in JSON has the same events", () =>
    cluster.during(async () => {
      const node = cluster.node(2);
      const told = node.pid === null ? [] : await events(node);
      const logged = new Set<string>();
      for (const line of node.log.split("\n")) {
        if (!line.startsWith("{")) continue;
        const { event } = JSON.parse(line) as { event?: NodeEvent };
        if (event !== undefined) logged.add(JSON.stringify(event));
      }
      expect(logged.size).toBeGreaterThan(5);
      for (const event of told) {
        // A decision that is done in passing is told at debug.
        if (event.kind !== "decision") expect(logged.has(JSON.stringify(event))).toBe(true);
      }
    }));
});
