// Goal: while leaders of the built-in Raft are killed one after the other, what the store says of each write is true:
// `unavailable` was never applied, a success always was, and no write was applied twice. Method: three members, patient and
// impatient writers through the survivors, then every key is compared with what its writer was told.

import { expect, test } from "bun:test";
import type { StoreError } from "../../lib/model/errors.ts";
import { ms, seconds } from "../../lib/model/units.ts";
import { killLeaders } from "../harness/raft-leader-kill.ts";
import { RaftMembers } from "../harness/raft-members.ts";
import { until } from "../harness/wait.ts";
import { value } from "./suite-context.ts";

const CASE_TIMEOUT_MS = 150_000;
const KILLS = 6;
/** Nothing is judged by it. */
const KILLED_WITHIN_MS = 60_000;
/** Patient writers see every write through; impatient ones see their deadline. */
const PATIENT_MS = 20_000;
const RENEW_EVERY_MS = 1000;
const WRITER_BUDGETS_MS = [PATIENT_MS, PATIENT_MS, PATIENT_MS, 60, 60, 20];

test(
  "a write reported as done was applied once, one reported as unavailable never; a renewed session survives all elections",
  async () => {
    const members = await RaftMembers.start(3);
    const { clock } = members;
    const within = (budgetMs = PATIENT_MS) => ({ deadline: ms(clock.now() + budgetMs) });
    const store = members.remoteStore();
    const session = value(await store.openSession({ ...within(), name: "survivor", ttl: seconds(10) }));
    const told = new Map<string, StoreError["kind"] | "done">();
    let writing = true;
    const writers = WRITER_BUDGETS_MS.map(async (budgetMs, writer) => {
      const client = members.remoteStore();
      for (let count = 1; writing; count++) {
        const key = `kill/${writer}-${count}`;
        // A second application would find the key there.
        const result = await client.put(key, "v", { ...within(budgetMs), condition: { kind: "absent" } });
        told.set(key, result.ok ? "done" : result.error.kind);
        await clock.sleepUntil(ms(clock.now() + 5));
      }
      await client.close();
    });
    const renewer = (async () => {
      for (; writing; await clock.sleepUntil(ms(clock.now() + RENEW_EVERY_MS))) value(await store.renewSession(session.id, within()));
    })();
    const killer = killLeaders(members);
    await until(`${KILLS} leaders are killed`, () => killer.kills >= KILLS, { withinMs: KILLED_WITHIN_MS });
    const kills = await killer.stop();
    writing = false;
    await Promise.all([...writers, renewer]);

    const there = new Set(value(await store.snapshot("kill/", within())).entries.map(({ key }) => key));
    const keysTold = (kind: string) => [...told].filter(([, what]) => what === kind).map(([key]) => key);
    console.log(
      `  ${kills} leaders killed: ${keysTold("done").length} writes done, ${keysTold("unavailable").length} unavailable, ${keysTold("unknown-outcome").length} unknown`,
    );
    expect(kills).toBeGreaterThanOrEqual(KILLS);
    expect(keysTold("done").filter((key) => !there.has(key))).toEqual([]);
    expect(keysTold("unavailable").filter((key) => there.has(key))).toEqual([]);
    expect(keysTold("condition-failed")).toEqual([]);
    const patient = [...told].filter(([key]) => WRITER_BUDGETS_MS[Number(/\/(\d+)-/.exec(key)?.[1])] === PATIENT_MS);
    expect(patient.filter(([, what]) => what !== "done")).toEqual([]);
    expect(patient.length).toBeGreaterThan(100);
    expect(value(await store.renewSession(session.id, within())).promisedMs).toBe(seconds(10));
    await store.close();
    await members.close();
  },
  CASE_TIMEOUT_MS,
);
