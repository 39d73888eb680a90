// Goal: a leader that is about to stop waits for the poolers that live, as long as they ask for and no longer, and whatever fails, goes on.
// Method: the gate over the memory store; the poolers are keys that the test writes under sessions of its own.

import { expect, test } from "bun:test";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { type Gate, type GateVerdict, MemoryStore } from "../../../lib/dcs/memory-store.ts";
import { noticeIn, poolerFields, poolerKey } from "../../../lib/dcs/poolers.ts";
import type { Clock } from "../../../lib/model/clock.ts";
import type { HandoverNotice, PoolerAnswer } from "../../../lib/model/pgbouncer.ts";
import { ms, revision, seconds } from "../../../lib/model/units.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { DcsPoolerGate } from "../../../lib/runtime/pooler-gate.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

const clock = realClock();
const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });
/** Longer than any test: who waits so long waits for an answer. */
const PATIENT = ms(600_000);
const soon = () => ms(clock.now() + 600_000);
const NEVER = new AbortController().signal;

async function given(options: { readonly gate?: Gate; readonly clock?: Clock } = {}) {
  const { clock = realClock() } = options;
  const data = new MemoryCluster({ clock });
  const outside = new MemoryStore({ cluster: data, clock });
  const session = async (name: string): Promise<string> => {
    const opened = await outside.openSession({ name, ttl: seconds(3600), deadline: soon() });
    if (!opened.ok) throw new Error(opened.error.kind);
    return opened.value.id;
  };
  const leader = await session("leader");
  await outside.put(keys.leader, "node1", { deadline: soon(), session: leader });
  const log = recordingLog();
  let lives = true;
  const state = {
    dcsFailure: null,
    heldFacts: () => ({ session: leader }),
    settings: { node: { name: "node1" }, dynamic: { loopWaitMs: ms(10_000) } },
  };
  const context = { clock, log, state, store: { keys, session: () => (lives ? { id: leader } : null) } } as unknown as NodeContext;
  const store = new MemoryStore({ cluster: data, clock, ...options });
  const pooler = async (name: string, patienceMs = PATIENT) => {
    const own = await session(name);
    const write = async (answer: PoolerAnswer | null): Promise<void> => {
      const text = JSON.stringify(poolerFields({ name, patienceMs, answer }));
      const put = await outside.put(poolerKey(keys, name), text, { deadline: soon(), session: own });
      if (!put.ok) throw new Error(put.error.kind);
    };
    await write(null);
    return {
      /** Once the handover is announced. */
      answer: async (over: Partial<PoolerAnswer>) =>
        write({ handover: (await announced()).id, paused: true, why: "", wish: "proceed", ...over }),
      end: () => outside.closeSession(own, { deadline: soon() }),
    };
  };
  const notice = async (): Promise<HandoverNotice | null> => {
    const read = await outside.snapshot(keys.prefix, { deadline: soon() });
    return read.ok ? noticeIn(keys, read.value.entries) : null;
  };
  const announced = async (): Promise<HandoverNotice> => {
    for (let after = revision(0); ; ) {
      const seen = await outside.watch(keys.prefix, after, { deadline: soon() });
      if (!seen.ok) throw new Error(seen.error.kind);
      const found = noticeIn(keys, seen.value.entries);
      if (found !== null) return found;
      after = seen.value.revision;
    }
  };
  const sessionEnds = (): void => {
    lives = false;
  };
  return { gate: new DcsPoolerGate({ context, store }), sessionEnds, pooler, notice, announced, log, leader, outside };
}

test("where no pooler lives nobody is waited for, and nothing is announced", async () => {
  const { gate, notice } = await given();
  expect(await gate.beforeStop(soon(), NEVER)).toMatchObject({ verdict: { kind: "go" } });
  expect(await notice()).toBeNull();
});

test("the handover is announced under the lock's session until every pooler has answered, and taken back at the end", async () => {
  const { gate, pooler, announced, notice, leader } = await given();
  const [first, second] = [await pooler("a"), await pooler("b")];
  let over = false;
  const asked = gate.beforeStop(soon(), NEVER).finally(() => {
    over = true;
  });
  expect(await announced()).toMatchObject({ leader: "node1", session: leader });
  await first.answer({});
  expect(over).toBe(false);
  await second.answer({});
  const { verdict, withdraw } = await asked;
  expect(verdict).toEqual({ kind: "go" });
  expect(await notice()).not.toBeNull();
  await withdraw();
  expect(await notice()).toBeNull();
});

test("what a former leader announced is replaced", async () => {
  const { gate, pooler, outside, notice, leader } = await given();
  const former = await outside.openSession({ name: "former", ttl: seconds(3600), deadline: soon() });
  if (!former.ok) throw new Error(former.error.kind);
  await outside.put(keys.handover, JSON.stringify({ id: "old", leader: "node9" }), { deadline: soon(), session: former.value.id });
  await pooler("a", ms(1));
  const { withdraw } = await gate.beforeStop(soon(), NEVER);
  expect(await notice()).toMatchObject({ leader: "node1", session: leader });
  await withdraw();
  expect(await notice()).toBeNull();
});

test("a pooler that cannot pause is told of, and its operator's wish is obeyed", async () => {
  for (const [wish, kind] of [
    ["proceed", "go"],
    ["abandon", "abandon"],
  ] as const) {
    const { gate, pooler, log } = await given();
    const one = await pooler("a");
    const asked = gate.beforeStop(soon(), NEVER);
    await one.answer({ paused: false, why: "a client holds it up", wish });
    expect((await asked).verdict.kind).toBe(kind);
    expect(log.lines).toContain("WARNING: pooler a is not paused: a client holds it up");
  }
});

test("an answer to an earlier handover is none", async () => {
  const { gate, pooler } = await given();
  const one = await pooler("a", ms(50));
  const asked = gate.beforeStop(soon(), NEVER);
  await one.answer({ handover: "earlier", paused: false, wish: "abandon" });
  expect((await asked).verdict).toEqual({ kind: "go" });
});

test("who does not answer is waited for as long as it asked for, and not longer than leaves time for the stop", async () => {
  const { gate, pooler, log } = await given();
  await pooler("a", ms(100));
  const began = clock.now();
  expect((await gate.beforeStop(soon(), NEVER)).verdict).toEqual({ kind: "go" });
  expect(clock.now() - began).toBeGreaterThanOrEqual(100);
  expect(log.lines).toContain("WARNING: pooler a is not paused: it did not answer in time");
  const other = await given();
  await other.pooler("a");
  expect((await other.gate.beforeStop(ms(clock.now() + 200), NEVER)).verdict).toEqual({ kind: "go" });
});

test("a pooler whose worker dies is not waited for any longer", async () => {
  const { gate, pooler, announced } = await given();
  const one = await pooler("a");
  const asked = gate.beforeStop(soon(), NEVER);
  await announced();
  await one.end();
  expect((await asked).verdict).toEqual({ kind: "go" });
});

test("the end of the lease ends the waiting", async () => {
  const { gate, pooler, announced } = await given();
  await pooler("a");
  const over = new AbortController();
  const asked = gate.beforeStop(soon(), over.signal);
  await announced();
  over.abort();
  expect((await asked).verdict).toEqual({ kind: "go" });
});

test("a store that refuses, or a lock that is not ours any more, holds no stop up", async () => {
  const refusing = await given({ gate: () => ({ kind: "refuse" }) });
  await refusing.pooler("a");
  expect((await refusing.gate.beforeStop(soon(), NEVER)).verdict).toEqual({ kind: "go" });
  const { gate, pooler, outside, notice } = await given();
  await pooler("a");
  await outside.delete(keys.leader, { deadline: soon() });
  expect((await gate.beforeStop(soon(), NEVER)).verdict).toEqual({ kind: "go" });
  expect(await notice()).toBeNull();
});

/** A leader whose requests meet what `link` says, and one pooler that never answers; `sent` counts its requests. */
async function onBadLink() {
  const clock = new ManualClock();
  const link: { verdict: (operation: string) => GateVerdict; sent: number } = { verdict: () => ({ kind: "pass" }), sent: 0 };
  const gate: Gate = (operation) => {
    link.sent += 1;
    return link.verdict(operation);
  };
  const made = await given({ gate, clock });
  await made.pooler("a", ms(1));
  const stop = async () => {
    const asked = made.gate.beforeStop(soon(), NEVER);
    await clock.advance(5_000);
    return await asked;
  };
  return { ...made, clock, link, stop };
}

test("an announcement that cannot be taken back while the DCS is away is taken back once it answers, and not looked for any more", async () => {
  const { clock, link, stop, notice } = await onBadLink();
  const { withdraw } = await stop();
  link.verdict = () => ({ kind: "silence" });
  const withdrawn = withdraw();
  await clock.advance(30_000);
  await withdrawn;
  expect(await notice()).not.toBeNull();
  link.verdict = () => ({ kind: "pass" });
  await clock.advance(5_000);
  expect(await notice()).toBeNull();
  const { sent } = link;
  await clock.advance(60_000);
  expect(link.sent).toBe(sent);
});

test("an announcement of unknown outcome is taken back too, also where it is carried out late", async () => {
  for (const fault of [{ kind: "lose-answer" }, { kind: "delay", requestMs: 9_000, answerMs: 0 }] as const) {
    const { clock, link, stop, notice } = await onBadLink();
    link.verdict = (operation) => (operation === "transaction" ? fault : { kind: "pass" });
    const { verdict, withdraw } = await stop();
    expect(verdict).toEqual({ kind: "go" });
    expect((await notice()) !== null).toBe(fault.kind === "lose-answer");
    await withdraw();
    await clock.advance(15_000);
    expect(await notice()).toBeNull();
    const { sent } = link;
    await clock.advance(60_000);
    expect(link.sent).toBe(sent);
  }
});

test("who has no session any more takes nothing back: its announcement went with it", async () => {
  const { clock, link, stop, sessionEnds } = await onBadLink();
  const { withdraw } = await stop();
  link.verdict = () => ({ kind: "silence" });
  const withdrawn = withdraw();
  await clock.advance(5_000);
  await withdrawn;
  sessionEnds();
  await clock.advance(5_000);
  const { sent } = link;
  await clock.advance(60_000);
  expect(link.sent).toBe(sent);
});
