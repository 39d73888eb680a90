// Goal: a round of failsafe mode prolongs the lease only where every member agreed in time, and an answer of 200 is a promise that holds.
// Method: the real effects and state over a clock by hand; the members' answers are facts that the test sets.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NO_KEY_TRACE } from "../../../lib/core/failsafe.ts";
import type { FailsafeAnswer, FailsafeHeartbeat } from "../../../lib/model/failsafe.ts";
import { ok } from "../../../lib/model/result.ts";
import { lsn, type Ms, ms, revision, seconds } from "../../../lib/model/units.ts";
import { askFailsafe, failsafeFacts, isFailsafeActive, recallPromise, takeHeartbeat, withFailsafe } from "../../../lib/runtime/failsafe.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { NodeState } from "../../../lib/runtime/node-state.ts";
import { DiskPromiseKeeper } from "../../../lib/runtime/promise-keeper.ts";
import { stateDir } from "../../../lib/runtime/run-lock.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { loadTemplate } from "../../simulation/node-config.ts";
import { CONFIG, cluster, primaryStatus, status } from "../core/observations.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

const template = await loadTemplate();
const RUNNING = { kind: "running", pid: 10, startTicks: 1, stopped: false } as const;
const dynamic = { ...CONFIG, failsafeMode: true };
const folder = mkdtempSync(join(tmpdir(), "failsafe-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const URLS = { a: "http://host-a:8008/patroni", b: "http://host-b:8008/patroni", c: "http://host-c:8008/patroni" };
const ACCEPTED: FailsafeAnswer = { kind: "accepted", lsn: lsn(77) };
const BEAT: FailsafeHeartbeat = { name: "a", connUrl: "postgres://h/postgres", apiUrl: URLS.a, slots: { perm: lsn(5) }, ttl: null };

interface Given {
  readonly context: NodeContext;
  readonly clock: ManualClock;
  readonly asked: string[];
  readonly extended: number[];
  readonly saved: number[];
}

/** Node b; what the members answer, and what happens while they are asked. */
async function node(
  role: "primary" | "replica",
  answers: (url: string) => FailsafeAnswer,
  meanwhile: (given: Given) => unknown = () => undefined,
) {
  const clock = new ManualClock();
  await clock.advance(100_000);
  const state = new NodeState(clock, { node: { ...template, name: "b" }, dynamic });
  state.cluster = cluster({ failsafe: URLS, leader: { name: role === "primary" ? "b" : "a", session: "s", revision: revision(4) } });
  Object.assign(state.local, { process: RUNNING, status: role === "primary" ? primaryStatus() : status(), lastRole: role });
  if (role === "primary")
    state.hold({ session: "s", revision: revision(4), confirmedAt: ms(clock.now() - 10_000), promisedMs: seconds(30) });
  const given: Given = { context: null as unknown as NodeContext, clock, asked: [], extended: [], saved: [] };
  const context = {
    clock,
    log: { ...recordingLog(), heartbeat: () => undefined },
    peers: {
      ask: async () => null,
      failsafe: async (url: string, beat: FailsafeHeartbeat, deadline: Ms) => {
        given.asked.push(`${url} ttl ${beat.ttl} within ${deadline - clock.now()}`);
        await meanwhile(given);
        return answers(url);
      },
    },
    watchdog: { armed: true, actsAt: () => null, extend: (end: Ms) => ok(given.extended.push(end)) },
    lease: { former: () => null, save: ({ deadline }: { deadline: Ms }) => void given.saved.push(deadline), clear: () => undefined },
    promises: { former: () => null, save: () => true },
    state,
  } as unknown as NodeContext;
  return Object.assign(given, { context });
}

describe("a round", () => {
  test("that all agree to lets the lease run ttl from before it began, and guard and lease file go along", async () => {
    const given = await node("primary", () => ACCEPTED);
    const { state } = given.context;
    const sentAt = given.clock.now();
    expect(await askFailsafe(given.context, {})).toMatchObject({ ok: true });
    expect(given.asked).toEqual([`${URLS.a} ttl 30000 within 3000`, `${URLS.c} ttl 30000 within 3000`]);
    const end = sentAt + 30_000 - 600;
    expect(state.heldFacts()?.leaseEndsAt).toBe(ms(end));
    expect([given.extended, given.saved]).toEqual([[end], [end]]);
    expect(isFailsafeActive(given.context)).toBe(true);
    state.hold({ session: "s", revision: revision(4), confirmedAt: given.clock.now(), promisedMs: seconds(30) });
    expect(isFailsafeActive(given.context)).toBe(false);
  });

  test("that one refuses changes nothing", async () => {
    const refusal: FailsafeAnswer = { kind: "refused", status: 502, text: "Failsafe mode is not enabled" };
    const given = await node("primary", (url) => (url === URLS.c ? refusal : ACCEPTED));
    const before = given.context.state.heldFacts();
    expect(await askFailsafe(given.context, {})).toMatchObject({ ok: false, message: "not agreed by c" });
    expect(given.context.state.heldFacts()).toEqual(before);
    expect([given.extended, given.saved]).toEqual([[], []]);
  });

  test("asks a silent member again until the time for it is over, never longer than until PostgreSQL has to be stopped", async () => {
    const given = await node("primary", (url) => (url === URLS.c ? { kind: "silent", reason: "refused" } : ACCEPTED));
    const round = askFailsafe(given.context, {});
    for (let step = 0; step < 40; step++) await given.clock.advance(100);
    expect(await round).toMatchObject({ ok: false });
    expect(given.asked.filter((line) => line.startsWith(URLS.c)).length).toBe(15);
    given.asked.length = 0;
    // The lease of 29.4 s began 10 s before: fast stop and budget take 5 s, so there are 1.4 s left after 9 more.
    await given.clock.advance(9_000);
    void askFailsafe(given.context, {});
    expect(given.asked[0]).toBe(`${URLS.a} ttl 30000 within 1400`);
  });

  test("does not count where the lock was lost, or the time for a stop came, before the last answer", async () => {
    const lost = await node(
      "primary",
      () => ACCEPTED,
      ({ context }) => {
        context.state.held = null;
      },
    );
    expect(await askFailsafe(lost.context, {})).toMatchObject({ ok: false });
    const late = await node(
      "primary",
      () => ACCEPTED,
      ({ clock }) => clock.advance(20_000),
    );
    expect(await askFailsafe(late.context, {})).toMatchObject({ ok: false });
    for (const { extended } of [lost, late]) expect(extended).toEqual([]);
  });

  test("of a cluster of one asks nobody and is unanimous", async () => {
    const given = await node("primary", () => ACCEPTED);
    const { state } = given.context;
    state.cluster = { ...cluster(), failsafe: { b: URLS.b } };
    expect(await askFailsafe(given.context, {})).toMatchObject({ ok: true });
    expect(given.asked).toEqual([]);
    state.cluster = { ...cluster(), failsafe: { a: URLS.a } };
    expect(failsafeFacts(given.context).voters).toBeNull();
    expect(await askFailsafe(given.context, {})).toMatchObject({ ok: false });
    expect(state.failsafe.key).toEqual(NO_KEY_TRACE);
  });

  test("takes the doubt off a lease that the process may have slept through", async () => {
    const given = await node("primary", () => ACCEPTED);
    const { state } = given.context;
    state.leaseDoubtedAt = given.clock.now();
    expect(state.leaseValid()).toBe(false);
    await given.clock.advance(1);
    expect(await askFailsafe(given.context, {})).toMatchObject({ ok: true });
    expect(state.leaseValid()).toBe(true);
  });
});

describe("a heartbeat", () => {
  test("is answered with the position, and binds for the longer of both ttls", async () => {
    const { context, clock } = await node("replica", () => ACCEPTED);
    expect(takeHeartbeat(context, BEAT)).toEqual({ status: 200, text: "Accepted", lsn: lsn(1000) });
    expect(failsafeFacts(context).promise).toEqual({ leader: "a", until: ms(clock.now() + 30_000) });
    expect(context.state.failsafe.slots).toEqual({ perm: lsn(5) });
    takeHeartbeat(context, { ...BEAT, ttl: seconds(60) });
    takeHeartbeat(context, { ...BEAT, ttl: seconds(20) });
    expect(failsafeFacts(context).promise?.until).toBe(ms(clock.now() + 60_000));
    expect(isFailsafeActive(context)).toBe(true);
    await clock.advance(60_000);
    expect([failsafeFacts(context).promise, isFailsafeActive(context)]).toEqual([null, false]);
  });

  test("is refused by whoever leads, holds the lock, is about to lead, or sees another leader; and where the mode is off", async () => {
    const primary = await node("primary", () => ACCEPTED);
    expect(takeHeartbeat(primary.context, BEAT)).toEqual({ status: 500, text: "Running as a leader", lsn: null });
    const cases: readonly (readonly [string, (state: NodeState) => unknown, FailsafeHeartbeat])[] = [
      [
        "Running as a leader",
        (state) => Object.assign(state, { cluster: { ...cluster(), leader: { name: "b", session: null, revision: revision(1) } } }),
        BEAT,
      ],
      ["Running as a leader", (state) => Object.assign(state.local, { status: null, lastRole: null }), BEAT],
      ["Running as a leader", (state) => Object.assign(state, { task: { kind: "promote" } }), BEAT],
      ["a holds the leader lock", () => undefined, { ...BEAT, name: "c" }],
      ["Not for this node", () => undefined, { ...BEAT, name: "b" }],
    ];
    for (const [text, change, beat] of cases) {
      const { context } = await node("replica", () => ACCEPTED);
      change(context.state);
      expect(takeHeartbeat(context, beat)).toEqual({ status: 500, text, lsn: null });
      expect(context.state.failsafe.promise).toBeNull();
    }
    const off = await node("replica", () => ACCEPTED);
    off.context.state.settings = { ...off.context.state.settings, dynamic: CONFIG };
    expect(takeHeartbeat(off.context, BEAT)).toMatchObject({ status: 502, text: "Failsafe mode is not enabled" });
  });

  test("brings the slots' positions along, and a round those of the members, into the view that is decided on", async () => {
    const replica = await node("replica", () => ACCEPTED);
    takeHeartbeat(replica.context, BEAT);
    const view = { ...cluster(), leader: null };
    expect(withFailsafe(replica.context, view).status.slots).toEqual({ perm: lsn(5) });
    await replica.clock.advance(30_000);
    expect(withFailsafe(replica.context, view)).toBe(view);
    const primary = await node("primary", () => ACCEPTED);
    await askFailsafe(primary.context, {});
    const positions = withFailsafe(primary.context, view).members.map(({ name, xlogLocation }) => [name, xlogLocation]);
    expect(positions).toEqual([
      ["a", lsn(77)],
      ["b", null],
      ["c", lsn(77)],
    ]);
  });

  test("is refused where the promise cannot be kept on disk", async () => {
    const { context } = await node("replica", () => ACCEPTED);
    const unkept = { ...context, promises: { former: () => null, save: () => false } };
    expect(takeHeartbeat(unkept, BEAT).status).toBe(500);
    expect(context.state.failsafe.promise).toBeNull();
  });
});

describe("a promise", () => {
  const dataDir = join(folder, "data");
  const keeper = (clock: ManualClock) => new DiskPromiseKeeper({ dataDir, clock, log: recordingLog() });

  test("binds the next process of the node; what was promised since is not taken back", async () => {
    const { context, clock } = await node("replica", () => ACCEPTED);
    expect(keeper(clock).former()).toBeNull();
    const broken = keeper(clock);
    expect(broken.save({ leader: "a", until: ms(1) })).toBe(false);
    await Bun.write(join(stateDir(dataDir), "made"), "");
    const until = ms(clock.now() + 30_000);
    expect(keeper(clock).save({ leader: "a", until })).toBe(true);
    const next = { ...context, promises: keeper(clock) };
    recallPromise(next);
    expect(failsafeFacts(next).promise).toEqual({ leader: "a", until });
    const later = { leader: "c", until: ms(until + 1) };
    next.state.failsafe.promise = later;
    recallPromise(next);
    expect(next.state.failsafe.promise).toEqual(later);
  });
});
