// Goal: the interleavings that a second reader thought up stay closed. Method: one observation at the dangerous instant each.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { lsn, ms, revision } from "../../../lib/model/units.ts";
import {
  answer,
  CONFIG,
  cluster,
  connection,
  leading,
  local,
  mark,
  member,
  observation,
  planned,
  primaryStatus,
  unlocked,
} from "./observations.ts";

const control = { state: "in production" } as NonNullable<Observation["local"]["control"]>;
const mine = cluster({
  leader: { name: "b", session: "s-b", revision: revision(4) },
  members: [member("a"), member("b", { role: "primary" }), member("c")],
});
const confirmed = { session: "s-b", revision: revision(4), confirmedAt: ms(99_900), leaseEndsAt: ms(129_300) };
const runningOut = { session: "s-b", revision: revision(4), confirmedAt: ms(71_000), leaseEndsAt: ms(100_500) };

describe("synchronous mode", () => {
  const config = { ...CONFIG, synchronousMode: "on" as const, synchronousNodeCount: 2 };

  test("a primary that comes back after a crash waits for every standby that the key names, and for no other", () => {
    const sync = { leader: "b", standbys: ["a", "c"], quorum: 0, revision: revision(6) };
    const crashed = local({ process: { kind: "none" }, status: null, lastRole: "primary", crashedAt: ms(99_990), control });
    const three = leading({ config, cluster: { ...mine, sync }, local: crashed });
    expect(decide(three).effect).toMatchObject({ kind: "start", role: "primary", syncNames: "2 (a,c)" });
    const one = leading({ config, cluster: { ...mine, sync: { ...sync, standbys: ["a"] } }, local: crashed });
    expect(decide(one).effect).toMatchObject({ kind: "start", role: "primary", syncNames: "a" });
  });
});

test("synchronous mode that is switched off gives the key up first, and then the setting back to the operator's own parameters", () => {
  const waiting = local({
    status: primaryStatus({ synchronousStandbyNames: "a" }),
    lastRole: "primary",
    upstream: "",
    syncNamesManaged: true,
  });
  const sync = { leader: "b", standbys: ["a"], quorum: 0, revision: revision(6) };
  const done = [{ kind: "renew-lock" as const, ok: true, message: "" }];
  const o = leading({ cluster: { ...mine, sync }, local: waiting, lock: { held: confirmed }, done });
  expect(decide(o).effect).toEqual({ kind: "write-sync", leader: null, standbys: [], quorum: 0 });
  const keyless = { ...o, dcs: { kind: "reachable" as const, cluster: mine, readAt: o.now } };
  expect(decide(keyless).effect).toEqual({ kind: "set-sync-names", value: null });
  expect(decide({ ...keyless, local: { ...waiting, syncNamesManaged: false } }).effect.kind).not.toBe("set-sync-names");
});

describe("a task that makes a primary", () => {
  const starting = local({ status: null, lastRole: "primary", crashedAt: ms(99_000) });
  const task = (kind: "start" | "restart" | "promote") => ({ kind, startedAt: ms(99_000), aborting: false });

  test("is given up when the lock went to somebody else", () => {
    for (const kind of ["start", "restart", "promote"] as const) {
      const o = leading({ cluster: cluster(), local: starting, task: task(kind), lock: { held: confirmed } });
      expect(decide(o)).toMatchObject({ rule: "task-lost-lock", effect: { kind: "abort-task" } });
    }
  });

  test("is given up when the lease ends and the DCS is away", () => {
    const dcs = { kind: "unreachable" as const, since: ms(90_000), cluster: mine, reason: "" };
    for (const kind of ["start", "restart", "promote"] as const) {
      const o = leading({ dcs, local: starting, task: task(kind), lock: { held: runningOut } });
      expect(decide(o)).toMatchObject({ rule: "task-lease-over", effect: { kind: "abort-task" } });
    }
  });

  test("is given up also where the node is shutting down, once no renewal can save its lease", () => {
    const requests = { shutdown: true, restart: false, reinitialize: null };
    for (const kind of ["restart", "promote"] as const) {
      const o = leading({ local: starting, task: task(kind), lock: { held: runningOut }, requests });
      expect(decide({ ...o, dcs: { kind: "reachable", cluster: mine, readAt: o.now } }).effect).toEqual({ kind: "renew-lock" });
      for (const dcs of [
        { kind: "unreachable" as const, since: ms(90_000), cluster: mine, reason: "" },
        { kind: "reachable" as const, cluster: unlocked, readAt: o.now },
      ])
        expect(decide({ ...o, dcs })).toMatchObject({ rule: "task-lease-over", effect: { kind: "abort-task" } });
      const lost = leading({ cluster: cluster(), local: starting, task: task(kind), lock: { held: confirmed }, requests });
      expect(decide(lost)).toMatchObject({ rule: "task-lost-lock", effect: { kind: "abort-task" } });
      expect(decide({ ...lost, task: { ...task(kind), aborting: true } }).effect.kind).toBe("wait");
    }
  });

  test("takes the lock again at once where it vanished", () => {
    const o = leading({ cluster: unlocked, local: starting, task: task("start"), lock: { held: confirmed } });
    expect(decide(o).effect).toEqual({ kind: "acquire-lock" });
  });

  test("in pause goes on", () => {
    const o = leading({ cluster: cluster(), config: { ...CONFIG, pause: true }, local: starting, task: task("restart") });
    expect(decide(o).rule).toBe("task-wait");
  });

  test("that is a standby's restart needs no lock", () => {
    const o = observation({ task: task("restart"), local: local({ status: null, lastRole: "replica" }) });
    expect(decide(o).rule).toBe("task-wait");
  });
});

describe("a primary that does not come back", () => {
  const config = { ...CONFIG, primaryStartTimeoutMs: ms(5000) };
  const asked = [{ kind: "ask-peers" as const, ok: true, message: "" }];

  test("is given up while it recovers, once primary_start_timeout is over and a replica can take over", () => {
    const recovering = leading({
      config,
      lock: { held: confirmed },
      local: local({ status: null, lastRole: "primary", crashedAt: ms(94_000) }),
      task: { kind: "start", startedAt: ms(94_100), aborting: false },
    });
    expect(decide(recovering)).toMatchObject({ rule: "task-overdue-ask", effect: { kind: "ask-peers", names: ["a", "c"] } });
    expect(decide({ ...recovering, done: asked, peers: { answers: [answer("a")] } }).effect).toEqual({ kind: "abort-task" });
    expect(decide({ ...recovering, done: asked, peers: { answers: [answer("a", { tags: { nofailover: true } })] } }).rule).toBe(
      "task-wait",
    );
    expect(decide({ ...recovering, now: ms(98_000) }).rule).toBe("task-wait");
    const left = { ...recovering, task: null, done: asked, peers: { answers: [answer("a")] } };
    expect(decide(left)).toMatchObject({ rule: "holder-no-service", effect: { kind: "stop", mode: "immediate" } });
  });

  test("or hangs is stopped, once primary_start_timeout is over and a replica can take over; with none it is waited for, and in pause", () => {
    const seconds = (count: number): Observation =>
      leading({
        config,
        lock: { held: confirmed },
        local: local({ status: null, lastRole: "primary", unservedSince: ms(100_000 - count * 1000) }),
      });
    // A lease at the least: one late answer is no hang, whatever primary_start_timeout says.
    expect(decide(seconds(29)).rule).toBe("holder-starting");
    const hung = seconds(30);
    expect(decide(hung)).toMatchObject({ rule: "holder-no-service-ask", effect: { kind: "ask-peers", names: ["a", "c"] } });
    const judged = (answers: Observation["peers"]["answers"]) => decide({ ...hung, done: asked, peers: { answers } });
    expect(judged([answer("a")])).toMatchObject({ rule: "holder-no-service", effect: { kind: "stop", mode: "immediate" } });
    expect(judged([answer("a", { tags: { nofailover: true } })]).rule).toBe("holder-starting");
    expect(decide({ ...hung, config: { ...config, pause: true } }).rule).toBe("holder-starting");
    // A stopped postmaster answers on connections that it had: new clients wait all the same.
    const stopped = {
      ...hung.local,
      status: primaryStatus(),
      process: { kind: "running" as const, pid: 10, startTicks: 1, stopped: true },
    };
    expect(decide({ ...hung, local: stopped, done: asked, peers: { answers: [answer("a")] } }).rule).toBe("holder-no-service");
    // What was stopped so counts as crashed: the lock goes.
    const down = { ...hung.local, process: { kind: "none" as const }, control, unservedSince: null, crashedAt: hung.local.unservedSince };
    const gone = {
      ...hung,
      local: down,
      done: asked,
      peers: { answers: [answer("a")] },
      config: { ...config, primaryStartTimeoutMs: ms(30_000) },
    };
    expect(decide(gone).rule).toBe("holder-crashed-release");
  });

  test("releases the lock when its start keeps failing, long before primary_start_timeout", () => {
    const failing = (failures: number): Observation =>
      leading({
        lock: { held: confirmed },
        local: local({ process: { kind: "none" }, status: null, lastRole: "primary", crashedAt: ms(99_000), control }),
        lastTask: { kind: "start", finishedAt: ms(90_000), ok: false, message: "no space", failures, plan: null },
        done: asked,
        peers: { answers: [answer("a")] },
      });
    expect(decide(failing(1)).effect).toMatchObject({ kind: "start", role: "primary" });
    expect(decide(failing(2)).effect).toEqual({ kind: "release-lock" });
    expect(decide({ ...failing(2), peers: { answers: [] } }).effect).toMatchObject({ kind: "start", role: "primary" });
  });
});

describe("a lease in doubt", () => {
  test("after this cycle's renewal is renewed once more, and PostgreSQL goes on", () => {
    const doubted = { ...confirmed, leaseEndsAt: ms(100_000) };
    const o = leading({
      lock: { held: doubted },
      local: local({ status: primaryStatus(), lastRole: "primary", upstream: "" }),
      done: [{ kind: "renew-lock", ok: true, message: "" }],
    });
    expect(decide(o).effect).toEqual({ kind: "renew-lock" });
    expect(decide({ ...o, done: [{ kind: "renew-lock", ok: false, message: "" }] })).toMatchObject({
      rule: "lease-over",
      effect: { kind: "stop", mode: "immediate" },
    });
  });
});

describe("a hand-over", () => {
  const task = { kind: "hand-over" as const, startedAt: ms(90_000), aborting: false };
  const away = { kind: "unreachable" as const, since: ms(90_000), cluster: mine, reason: "" };
  const shutdown = { shutdown: true, restart: false, reinitialize: null };

  test("whose lease ends while the DCS is away gives the checkpoint up and stops PostgreSQL at once", () => {
    for (const requests of [observation().requests, shutdown]) {
      const o = leading({ dcs: away, lock: { held: runningOut }, task, requests });
      expect(decide(o)).toMatchObject({ rule: "hand-over-lease-over", effect: { kind: "abort-task" } });
      expect(decide({ ...o, task: { ...task, aborting: true } }).effect.kind).toBe("wait");
      expect(decide({ ...o, lock: { held: confirmed } }).effect.kind).toBe("wait");
    }
  });

  test("renews a lease that is in doubt before it gives anything up, and in pause gives up nothing", () => {
    const o = leading({ cluster: mine, lock: { held: runningOut }, task, requests: shutdown });
    expect(decide(o).effect).toEqual({ kind: "renew-lock" });
    expect(decide({ ...o, dcs: away, config: { ...CONFIG, pause: true } }).effect.kind).toBe("wait");
  });
});

describe("a failover request", () => {
  const request = { revision: revision(3), leader: "b", candidate: "c", scheduledAt: null, scheduledAtText: null };
  const streams = primaryStatus({ replication: [connection("c")] });
  const asked = { done: [{ kind: "ask-peers" as const, ok: true, message: "" }], peers: { answers: [answer("c")] } };

  test("that is dropped is told in Patroni's words", () => {
    const promoted = local({ status: streams, lastRole: "primary", upstream: "", promotedAt: ms(80_000) });
    const why = (fields: Partial<typeof request>, view = local({ status: streams, lastRole: "primary", upstream: "" })) =>
      decide(leading({ cluster: { ...mine, failover: { ...request, revision: revision(8), ...fields } }, local: view, ...asked })).why;
    expect(why({ leader: "nobody" })).toBe("switchover: leader name does not match: nobody != b");
    expect(why({ candidate: "b" })).toBe("switchover: I am already the leader, no need to switchover");
    expect(why({ leader: null as never, candidate: "b" })).toBe("manual failover: I am already the leader, no need to failover");
    expect(why({ leader: null as never, candidate: "nobody" })).toStartWith(
      "manual failover: no healthy members found, failover is not possible",
    );
    expect(why({ leader: "a", candidate: "b", revision: revision(3) }, promoted)).toBe(
      "Cleaning up failover key after acquiring leader lock...",
    );
  });

  test("from before the promotion of this node is dropped, never obeyed a second time", () => {
    const promoted = local({ status: streams, lastRole: "primary", upstream: "", promotedAt: ms(80_000) });
    const old = leading({ cluster: { ...mine, failover: request }, local: promoted });
    expect(decide(old)).toMatchObject({ rule: "failover-stale", effect: { kind: "clear-failover" } });
    const fresh = leading({ cluster: { ...mine, failover: { ...request, revision: revision(8) } }, local: promoted, ...asked });
    expect(decide(fresh).effect.kind).toBe("hand-over");
    const appointment = { ...request, scheduledAt: 1_700_000_000_000 - 1000 };
    expect(decide(leading({ cluster: { ...mine, failover: appointment }, local: promoted, ...asked })).effect.kind).toBe("hand-over");
  });

  test("right after a promotion waits for the standbys to stream", () => {
    const view = { ...mine, failover: { ...request, revision: revision(8) } };
    const promoted = local({ status: primaryStatus(), lastRole: "primary", upstream: "", promotedAt: ms(95_000) });
    expect(decide(leading({ cluster: view, local: promoted, ...asked })).rule).toBe("failover-pending");
    const later = leading({ cluster: view, local: { ...promoted, promotedAt: ms(80_000) }, ...asked });
    expect(decide(later)).toMatchObject({ rule: "failover-impossible", effect: { kind: "clear-failover" } });
  });

  test("whose candidate answers but does not take the lock does not leave the cluster without a leader", () => {
    const trace = {
      ...observation().trace,
      mark: mark(),
      markSeenAt: ms(70_000),
      markReadAt: ms(99_000),
    };
    const failover = { ...request, leader: "a" };
    const race = (vanishedAt: number): Observation =>
      observation({ cluster: { ...unlocked, failover }, trace: { ...trace, vanishedAt: ms(vanishedAt) }, ...asked });
    expect(decide(race(98_000)).rule).toBe("race-other-candidate");
    expect(decide(race(84_000)).effect).toEqual({ kind: "acquire-lock" });
  });

  test("a node that could not be promoted lets the others go first", () => {
    const failed = { kind: "promote" as const, finishedAt: ms(98_000), ok: false, message: "pre_promote", failures: 1, plan: null };
    const trace = { ...observation().trace, name: "b", session: "s-b", vanishedAt: ms(98_000) };
    const o = observation({ cluster: unlocked, trace, lastTask: failed, ...asked });
    expect(decide(o).rule).toBe("race-promotion-failed");
    expect(decide({ ...o, now: ms(104_000) }).effect).toEqual({ kind: "acquire-lock" });
  });
});

describe("a standby", () => {
  const other = local({ upstream: "host-c:5432" });

  test("in pause is not stopped because it has diverged", () => {
    const paused = observation({ config: { ...CONFIG, pause: true }, local: other, lastTask: planned("rewind") });
    expect(decide(paused).effect.kind).toBe("wait");
    const since = local({ notStreamingSince: ms(90_000) });
    const silent = observation({ config: { ...CONFIG, pause: true }, local: since, lastTask: planned("rewind") });
    expect(decide(silent).effect.kind).toBe("wait");
  });

  test("that diverged and may not be replaced is never pointed at the leader", () => {
    const down = local({ process: { kind: "none" }, status: null });
    const plan = { leader: "a", leaderSession: "s-a", plan: { kind: "clone" as const, allowed: false, why: "" } };
    expect(decide(observation({ local: down, lastTask: { ...planned("follow"), plan } })).effect).toMatchObject({
      kind: "start",
      target: null,
    });
  });
});

describe("in pause", () => {
  const config = { ...CONFIG, pause: true };
  const down = local({ process: { kind: "none" }, status: null });
  const handedOver = { kind: "hand-over" as const, finishedAt: ms(99_000), ok: true, message: "", failures: 0, plan: null };

  test("the former leader of a switchover comes back as a replica", () => {
    expect(decide(observation({ config, local: down, lastTask: handedOver })).effect.kind).toBe("plan-rejoin");
  });

  test("a server that was stopped by hand stays down", () => {
    expect(decide(observation({ config, local: down })).rule).toBe("paused-as-it-is");
    expect(decide(observation({ config, local: { ...down, crashedAt: ms(99_500) }, lastTask: handedOver })).rule).toBe("paused-as-it-is");
  });

  test("a reinitialize goes through, and one that fails waits before it is tried again", () => {
    const requests = { shutdown: false, restart: false, reinitialize: { fromLeader: false } };
    const o = observation({ config, local: down, requests });
    expect(decide(o).effect).toMatchObject({ kind: "clone", clear: true });
    const failed = { kind: "clone" as const, finishedAt: ms(99_900), ok: false, message: "", failures: 1, plan: null };
    expect(decide({ ...o, lastTask: failed }).rule).toBe("clone-retry");
  });
});

test("a primary behind the published position publishes its own at once: a former leader's lost WAL would keep everybody from leading", () => {
  const status = { optime: lsn(5000), slots: {}, retainSlots: [] };
  const o = leading({ cluster: { ...mine, status }, lock: { held: confirmed } });
  expect(decide(o).effect).toEqual({ kind: "renew-lock" });
  expect(decide({ ...o, done: [{ kind: "renew-lock", ok: true, message: "" }] }).effect.kind).not.toBe("renew-lock");
});
