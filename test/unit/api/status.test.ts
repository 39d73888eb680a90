import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { epochSeconds, MetricsText } from "../../../lib/api/metrics.ts";
import { splitUrl } from "../../../lib/api/request-target.ts";
import { HEALTH_PATHS } from "../../../lib/core/role-health.ts";
import { lsn, ms, revision, seconds } from "../../../lib/model/units.ts";
import type { NodeFacts, NodeMeasures } from "../../../lib/runtime/node-service.ts";
import { apiOf } from "./asking.ts";
import { cluster, DYNAMIC, facts, MEASURES, member, NodeUnderTest, postgres, replicaFacts, standby } from "./node-under-test.ts";

function recording(name: string): string {
  return readFileSync(`${import.meta.dir}/../../scenarios/api/${name}.body`, "utf8").trim();
}

/** Our own fields stand at the end. */
function withoutOurs(document: string): string {
  return document.replace(/, "product": \{[^}]*\}, "fencing": "[^"]*"(?:, "lease_held": true)?(?:, "decision": \{[^}]*\})?\}$/, "}");
}

const PENDING = { max_connections: { old_value: "50", new_value: "60" } };

describe("the status document", () => {
  test("of a primary and of a replica are byte for byte what Patroni wrote", async () => {
    const primary = await apiOf(new NodeUnderTest())("GET", "/patroni");
    expect(withoutOurs(primary.text)).toBe(recording("primary_patroni"));
    const replica = await apiOf(new NodeUnderTest(replicaFacts()))("GET", "/patroni");
    expect(withoutOurs(replica.text)).toBe(recording("replica_patroni"));
    expect(primary.headers.get("content-type")).toBe("application/json");
  });

  test("shows a pending restart as Patroni does", async () => {
    const node = new NodeUnderTest(
      facts({ pendingRestart: PENDING, dcsLastSeenEpochSeconds: 1795297547, postgres: postgres({ walLsn: lsn(67108960) }) }),
    );
    expect(withoutOurs((await apiOf(node)("GET", "/patroni")).text)).toBe(recording("primary_pending"));
  });

  test("keeps positions beyond 2^53 exact", async () => {
    const node = new NodeUnderTest(facts({ postgres: postgres({ walLsn: lsn(18446744073709551615n) }) }));
    expect((await apiOf(node)("GET", "/patroni")).text).toContain('"xlog": {"location": 18446744073709551615}');
  });

  test("without a working connection holds state and role, and no position", async () => {
    const node = new NodeUnderTest(facts({ postgres: null, state: "stopped", paused: true, cluster: cluster({ leader: null }) }));
    const { status, text } = await apiOf(node)("GET", "/patroni");
    expect(status).toBe(200);
    expect(text).toStartWith(
      '{"state": "stopped", "role": "primary", "pause": true, "cluster_unlocked": true, "dcs_last_seen": 1795297538, ',
    );
  });

  test("shows the address of the primary's host behind what is Patroni's, as it is at that moment", async () => {
    const vip = { address: "10.0.0.100/24", interface: "eth0" };
    const node = new NodeUnderTest(facts({ vip: { ...vip, here: false } }));
    const api = apiOf(node);
    expect((await api("GET", "/patroni")).text).toContain('"vip": {"address": "10.0.0.100/24", "interface": "eth0", "here": false}');
    node.current = facts({ vip: { ...vip, here: true } });
    const { text } = await api("GET", "/patroni");
    expect(text).toContain('"here": true}');
    expect(text.indexOf('"patroni"')).toBeLessThan(text.indexOf('"vip"'));
  });

  test("says sync_standby or quorum_standby where the sync key names this node", async () => {
    const sync = { revision: revision(5), leader: "node1", standbys: ["node2"], quorum: 0 };
    for (const [mode, word] of [
      ["on", "sync_standby"],
      ["quorum", "quorum_standby"],
    ] as const) {
      const node = new NodeUnderTest(replicaFacts({ cluster: cluster({ sync }), dynamic: { ...DYNAMIC, synchronousMode: mode } }));
      expect((await apiOf(node)("GET", "/patroni")).text).toContain(`"paused": false}, "${word}": true, "timeline": 1`);
    }
  });

  test("names the product, the fencing and the last decision behind Patroni's fields", async () => {
    const node = new NodeUnderTest(facts({ lastDecision: { rule: "keep-lock", why: "it is mine" } }));
    expect((await apiOf(node)("GET", "/patroni")).text).toMatch(
      /"name": "node1"\}, "product": \{"name": "Matriarch", "version": "[^"]+"\}, "fencing": "guard", "lease_held": true, "decision": \{"rule": "keep-lock", "why": "it is mine"\}\}$/,
    );
  });

  test("is made anew when any fact in it changes, though the body is kept", async () => {
    const node = new NodeUnderTest();
    const ask = apiOf(node);
    const before = (await ask("GET", "/")).text;
    expect((await ask("GET", "/")).text).toBe(before);
    for (const change of [
      { postgres: postgres({ walLsn: lsn(7) }) },
      { paused: true },
      { state: "stopping" as const },
      { tags: { a: 1 } },
      { pendingRestart: PENDING },
      { watchdogFailed: true },
      { failsafeActive: true },
      { dcsLastSeenEpochSeconds: 5 },
      { fencing: "none" },
      { lastDecision: { rule: "r", why: "w" } },
      { scheduledRestart: { schedule: "2099-01-01T00:00:00+00:00" } },
    ]) {
      node.current = facts(change);
      expect((await ask("GET", "/patroni")).text).not.toBe(before);
    }
  });
});

describe("health paths", () => {
  test("answer GET with the document, HEAD and OPTIONS with the status alone", async () => {
    const ask = apiOf(new NodeUnderTest());
    for (const path of HEALTH_PATHS.keys()) {
      const get = await ask("GET", path);
      for (const method of ["HEAD", "OPTIONS"]) {
        const bare = await ask(method, path);
        expect([path, method, bare.status, bare.text]).toEqual([path, method, get.status, ""]);
      }
      const empty = path === "/liveness" || path === "/readiness";
      expect([path, get.text === ""]).toEqual([path, empty]);
    }
  });

  test("judge the lock at the moment of the answer", async () => {
    const node = new NodeUnderTest();
    const ask = apiOf(node);
    expect((await ask("GET", "/primary")).status).toBe(200);
    node.current = { ...node.current, holdsLock: false };
    expect((await ask("GET", "/primary")).status).toBe(503);
    node.current = { ...node.current, holdsLock: true };
    expect((await ask("GET", "/primary")).status).toBe(200);
  });

  test("take slashes too many, and query parameters", async () => {
    const ask = apiOf(new NodeUnderTest(replicaFacts()));
    for (const path of ["/replica/", "//replica", "/replica?lag=10MB&tag_clonefrom=true", "/replica/?x=1"]) {
      expect([path, (await ask("GET", path)).status]).toEqual([path, 200]);
    }
    expect((await ask("GET", "/replica?tag_clonefrom=false")).status).toBe(503);
    expect(splitUrl("http://host?x=1")).toEqual({ path: "/", search: "" });
    expect(splitUrl("/replica?lag=1/2")).toEqual({ path: "/replica", search: "lag=1/2" });
  });

  test("any other GET is 503 with the document, other methods 501", async () => {
    const ask = apiOf(new NodeUnderTest());
    for (const path of ["/nonsense", "/Primary", "/replicas", "/failover", "/switchover", "/restart", "/%00", "/a/../primary/x"]) {
      const answer = await ask("GET", path);
      expect([path, answer.status, answer.text.startsWith('{"state": "running"')]).toEqual([path, 503, true]);
      expect((await ask("HEAD", path)).status).toBe(503);
    }
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      expect((await ask(method, "/nonsense", {})).status).toBe(501);
      expect((await ask(method, "/primary", {})).text).toBe(`Unsupported method ('${method}')`);
    }
  });

  test("/liveness asks no SQL: it answers while facts() hangs", async () => {
    const node = new NodeUnderTest(facts({ lastCycleAt: facts().now }));
    node.facts = () => new Promise(() => undefined);
    expect((await apiOf(node)("GET", "/liveness")).status).toBe(200);
    node.current = facts({ lastCycleAt: (facts().now - seconds(31)) as never });
    expect((await apiOf(node)("GET", "/liveness")).status).toBe(503);
  });

  test("a failure inside is 500, logged, and says nothing of the inside", async () => {
    const node = new NodeUnderTest();
    node.facts = () => Promise.reject(new Error("secret detail"));
    const answer = await apiOf(node)("GET", "/primary");
    expect([answer.status, answer.text]).toEqual([500, "internal error: see the log of this node"]);
  });
});

describe("cluster and history", () => {
  test("/cluster is what Patroni wrote", async () => {
    expect((await apiOf(new NodeUnderTest())("GET", "/cluster")).text).toBe(recording("primary_cluster"));
  });

  test("a crowd of readers costs the store two reads: the one under way and one for all who came after", async () => {
    const node = new NodeUnderTest();
    const gate = Promise.withResolvers<null>();
    node.readGate = gate.promise;
    const ask = apiOf(node);
    const answers = Array.from({ length: 50 }, () => ask("GET", "/cluster"));
    gate.resolve(null);
    expect(new Set((await Promise.all(answers)).map(({ status }) => status))).toEqual(new Set([200]));
    expect(node.reads).toBe(2);
  });

  test("say that nobody is known to lead while the store is away", async () => {
    const node = new NodeUnderTest();
    const unlocked = async () => {
      const document = JSON.parse((await apiOf(node)("GET", "/patroni")).text) as Readonly<Record<string, unknown>>;
      const metric = /^patroni_cluster_unlocked\{.*\} (\d)$/m.exec((await apiOf(node)("GET", "/metrics")).text)?.[1];
      return [document["cluster_unlocked"], metric];
    };
    expect(await unlocked()).toEqual([undefined, "0"]);
    node.current = facts({ dcsReachable: false });
    expect(await unlocked()).toEqual([true, "1"]);
  });

  test("come from memory while the store is away", async () => {
    const node = new NodeUnderTest();
    node.readFailure = { kind: "unavailable", reason: "away" };
    expect((await apiOf(node)("GET", "/cluster")).text).toBe(recording("primary_cluster"));
    node.current = facts({ dcsReachable: false, cluster: null });
    expect((await apiOf(node)("GET", "/cluster")).status).toBe(503);
  });

  test("/history has a line per timeline, exact", async () => {
    const line = (known: boolean) => ({
      timeline: 1 as never,
      lsn: lsn(9007199254740993n),
      reason: "no recovery target specified",
      time: known ? "2026-11-21T21:45:55.960896+00:00" : null,
      newLeader: known ? "node2" : null,
    });
    const node = new NodeUnderTest(facts({ cluster: cluster({ history: [line(true), line(false)] }) }));
    expect((await apiOf(node)("GET", "/history")).text).toBe(
      '[[1, 9007199254740993, "no recovery target specified", "2026-11-21T21:45:55.960896+00:00", "node2"], [1, 9007199254740993, "no recovery target specified"]]',
    );
  });
});

describe("metrics", () => {
  /** Lines of ours and of what Patroni shows with failsafe only are taken out. */
  function patroniLines(text: string): string {
    return text
      .split("\n")
      .filter((line) => line !== "" && !/matriarch_|failsafe_mode_enabled|failsafe_member|failover_priority/.test(line))
      .join("\n");
  }

  test("are line for line what Patroni wrote", async () => {
    const primary = await apiOf(new NodeUnderTest(facts({ dcsLastSeenEpochSeconds: 1795297539 })))("GET", "/metrics");
    expect(patroniLines(primary.text)).toBe(recording("primary_metrics"));
    const replica = await apiOf(new NodeUnderTest(replicaFacts({ dcsLastSeenEpochSeconds: 1795297539 })))("GET", "/metrics");
    expect(patroniLines(replica.text)).toBe(recording("replica_metrics"));
    expect(primary.headers.get("content-type")).toStartWith("text/plain");
  });

  test("are zeros without PostgreSQL, and never miss a line", async () => {
    const names = (text: string) => text.split("\n").filter((line) => line.startsWith("# TYPE"));
    const stopped = (await apiOf(new NodeUnderTest(facts({ postgres: null, state: "stopped" })))("GET", "/metrics")).text;
    expect(names(stopped)).toEqual(names((await apiOf(new NodeUnderTest())("GET", "/metrics")).text));
    expect(stopped).toContain('patroni_postgres_state{scope="demo",name="node1"} 12');
    expect(stopped).toContain('patroni_postgres_running{scope="demo",name="node1"} 0');
  });

  test("are written once for many readers, and anew as soon as the facts are old or another thing is the case", () => {
    const first = facts();
    let written = 0;
    const families: NodeMeasures["families"] = () => {
      written += 1;
      return [];
    };
    const texts = new MetricsText();
    const text = (current: NodeFacts, revision: number) => texts.of(current, { ...MEASURES, families, revision }, 0);
    const told = text(first, 0);
    const at = (milliseconds: number): NodeFacts => ({ ...first, now: ms(first.now + milliseconds), dcsLastSeenEpochSeconds: 5 });
    expect([text(first, 0) === told, text(at(249), 0) === told]).toEqual([true, true]);
    expect(text(at(250), 0)).toContain('patroni_dcs_last_seen{scope="demo",name="node1"} 5');
    const changes = [{ holdsLock: false }, { paused: true }, { state: "stopped" as const }, { postgres: null }, { dcsReachable: false }];
    for (const change of changes) {
      const before = text(first, 0);
      expect([change, text({ ...first, ...change }, 0) === before]).toEqual([change, false]);
    }
    expect(written).toBe(1);
    text(first, 1);
    expect(written).toBe(2);
  });

  test("show failsafe, priority and the replay time with all its digits", async () => {
    const node = new NodeUnderTest(
      replicaFacts({
        cluster: cluster({ failsafe: { node1: "u1", node2: "u2" }, members: [member("node2")] }),
        dynamic: { ...DYNAMIC, failsafeMode: true },
        tags: { failover_priority: "3" },
        postgres: standby({ replayTimestamp: "2026-11-21 22:44:16.768253+00:00" }),
      }),
    );
    const text = (await apiOf(node)("GET", "/metrics")).text;
    for (const line of ["failsafe_mode_enabled", "failsafe_member"]) expect(text).toContain(`patroni_${line}{scope="demo",name="node2"} 1`);
    expect(text).toContain('patroni_failover_priority{scope="demo",name="node2"} 3');
    expect(text).toContain('patroni_xlog_replayed_timestamp{scope="demo",name="node2"} 1795301056.768253');
    expect(epochSeconds("2026-11-21 22:44:16+02")).toBe("1795293856");
    expect(epochSeconds("yesterday")).toBe("0");
  });
});
