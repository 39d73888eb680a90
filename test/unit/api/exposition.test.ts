import { describe, expect, test } from "bun:test";
import { familyText } from "../../../lib/api/exposition.ts";
import { lsn, ms } from "../../../lib/model/units.ts";
import { Measures } from "../../../lib/runtime/measures.ts";
import type { NodeFacts } from "../../../lib/runtime/node-service.ts";
import { readExposition } from "../../harness/exposition.ts";
import { observation } from "../core/observations.ts";
import { apiOf } from "./asking.ts";
import { facts, MEASURES, NodeUnderTest, replicaFacts } from "./node-under-test.ts";

const RAFT = {
  state: "serving",
  role: "leader",
  term: 7,
  commit: 100,
  applied: 99,
  lastIndex: 103,
  snapshotIndex: 50,
  logBytes: 4096,
  snapshotBytes: 1024,
  syncMs: 2.5,
  fsyncs: {
    buckets: [
      [0.001, 2],
      [0.01, 5],
    ],
    sum: 0.05,
    count: 6,
  },
  elections: 3,
  voters: 3,
  votersConnected: 2,
} as const;

function measured(): Measures {
  const measures = new Measures();
  measures.request({ request: "snapshot", took: ms(3), error: null });
  measures.request({ request: "put", took: ms(20_000), error: "unknown-outcome" });
  measures.request({ request: "watch", took: null, error: "unavailable" });
  measures.decided({ rule: "follow", why: "", effect: { kind: "renew-lock" } }, observation());
  measures.performed({ kind: "renew-lock", ok: false, message: "gone", took: ms(1) });
  measures.taskEnded({ kind: "clone", ok: true, message: "", took: ms(90_000) });
  measures.cycleEnded(ms(12));
  return measures;
}

describe("GET /metrics", () => {
  test("is valid text for Prometheus: HELP and TYPE once, before their samples; labels escaped; histograms whole", async () => {
    const measures = measured();
    const node = new NodeUnderTest(
      facts({
        config: { ...facts().config, scope: 'a"b\\c\nd' },
        postgres: { ...facts().postgres, walLsn: lsn(9007199254740993n) } as never,
        copy: { doneBytes: 5, totalBytes: 10, percent: 50 },
      }),
    );
    node.measured = {
      ...MEASURES,
      revision: measures.revision,
      families: () => measures.families(),
      leaseRemainingMs: ms(1500),
      raft: RAFT,
    };
    const read = readExposition((await apiOf(node)("GET", "/metrics")).text);
    expect(read.faults).toEqual([]);
    const scope = 'a\\"b\\\\c\\nd';
    expect(new Set(read.samples.map(({ labels }) => `${labels["scope"]} ${labels["name"]}`))).toEqual(new Set([`${scope} node1`]));
    expect(read.samples.length).toBeGreaterThan(100);
  });

  test("tells of requests, cycles, rules, failures, tasks, the lease, the guard, the copy and the Raft", async () => {
    const measures = measured();
    const node = new NodeUnderTest(facts({ copy: { doneBytes: 5, totalBytes: 10, percent: 50 } }));
    node.measured = {
      revision: measures.revision,
      families: () => measures.families(),
      leaseRemainingMs: ms(1500),
      guard: { armed: true, healthy: true, actsInMs: ms(700) },
      raft: RAFT,
    };
    const { samples } = readExposition((await apiOf(node)("GET", "/metrics")).text);
    const value = (name: string, labels: Record<string, string> = {}): number | undefined =>
      samples.find((one) => one.name === `matriarch_${name}` && Object.entries(labels).every(([key, text]) => one.labels[key] === text))
        ?.value;
    expect(value("dcs_request_seconds_count", { request: "snapshot" })).toBe(1);
    expect(value("dcs_request_seconds_bucket", { request: "snapshot", le: "0.0025" })).toBe(0);
    expect(value("dcs_request_seconds_bucket", { request: "snapshot", le: "0.005" })).toBe(1);
    expect(value("dcs_request_seconds_bucket", { request: "put", le: "10" })).toBe(0);
    expect(value("dcs_request_seconds_bucket", { request: "put", le: "+Inf" })).toBe(1);
    expect(value("dcs_request_failures_total", { request: "put", error: "unknown-outcome" })).toBe(1);
    expect(value("dcs_request_failures_total", { request: "watch" })).toBe(1);
    expect(value("dcs_request_seconds_count", { request: "watch" })).toBeUndefined();
    expect(value("ha_cycle_seconds_sum")).toBe(0.012);
    expect(value("rule_decisions_total", { rule: "follow" })).toBe(1);
    expect(value("effect_failures_total", { effect: "renew-lock" })).toBe(1);
    expect(value("task_seconds_count", { task: "clone", outcome: "done" })).toBe(1);
    expect(value("failovers_total", { cause: "automatic" })).toBe(0);
    expect(value("failover_phase_seconds_count", { phase: "writable" })).toBe(0);
    expect(value("lease_remaining_seconds")).toBe(1.5);
    expect(value("guard_acts_in_seconds")).toBe(0.7);
    expect(value("copy_done_bytes")).toBe(5);
    expect(value("raft_role", { role: "leader" })).toBe(1);
    expect(value("raft_role", { role: "follower" })).toBe(0);
    expect(value("raft_commit_lag_entries")).toBe(3);
    expect(value("raft_sync_seconds")).toBe(0.0025);
    expect(value("raft_fsync_seconds_bucket", { le: "0.001" })).toBe(2);
    expect(value("raft_fsync_seconds_bucket", { le: "+Inf" })).toBe(6);
    expect(value("raft_fsync_seconds_sum")).toBe(0.05);
    expect(value("raft_elections_total")).toBe(3);
  });

  test("tells where the address of the primary's host is; nothing where none is kept", async () => {
    const shown = async (vip: NodeFacts["vip"]) =>
      readExposition((await apiOf(new NodeUnderTest(facts({ vip })))("GET", "/metrics")).text).samples.filter(
        ({ name }) => name === "matriarch_vip",
      );
    const vip = { address: "10.0.0.100/24", interface: "eth0" };
    const labels = expect.objectContaining(vip);
    expect(await shown({ ...vip, here: true })).toMatchObject([{ labels, value: 1 }]);
    expect(await shown({ ...vip, here: false })).toMatchObject([{ labels, value: 0 }]);
    expect(await shown(null)).toEqual([]);
  });

  test("what was counted is shown as it is now, also right after an earlier answer", async () => {
    const measures = new Measures();
    const node = new NodeUnderTest(replicaFacts());
    Object.defineProperty(node, "measured", {
      get: () => ({ ...MEASURES, revision: measures.revision, families: () => measures.families() }),
    });
    const ask = apiOf(node);
    expect((await ask("GET", "/metrics")).text).toContain('matriarch_ha_cycle_seconds_count{scope="demo",name="node2"} 0');
    measures.cycleEnded(ms(5));
    expect((await ask("GET", "/metrics")).text).toContain('matriarch_ha_cycle_seconds_count{scope="demo",name="node2"} 1');
  });
});

describe("the reader of the text format finds", () => {
  const good = familyText("x_", 'scope="a"', { kind: "gauge", name: "one", help: "One.", samples: [{ labels: {}, value: 1 }] });
  const cases: readonly (readonly [string, string])[] = [
    ["a family that comes twice", good + good],
    ["a sample without HELP and TYPE", `${good}x_two 1\n`],
    ["a value that is no number", good.replace(" 1\n", " undefined\n")],
    ["a quote in a label", good.replace('"a"', '"a"b"')],
    ["a missing end of the last line", good.trimEnd()],
    ["a histogram without +Inf", '# HELP h H\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 1\nh_count 1\n'],
    ["buckets that fall", '# HELP h H\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'],
    ["a counter below zero", "# HELP c C\n# TYPE c counter\nc -1\n"],
  ];
  test("nothing wrong with a good text", () => expect(readExposition(good).faults).toEqual([]));
  for (const [what, text] of cases) test(what, () => expect(readExposition(text).faults.length).toBeGreaterThan(0));
});
