// Owns the tests of what a look at the local PostgreSQL makes of what it sees.

import { expect, test } from "bun:test";
import { restartsUnaskable } from "../../../lib/core/facts.ts";
import type { PostgresError } from "../../../lib/model/errors.ts";
import type { DataDirectory } from "../../../lib/model/postgres.ts";
import { err, ok } from "../../../lib/model/result.ts";
import { lsn, ms } from "../../../lib/model/units.ts";
import type { CommitWaiting } from "../../../lib/postgres/waiting-commits.ts";
import { lookAtPostgres, observe } from "../../../lib/runtime/observe.ts";
import { promote } from "../../../lib/runtime/promotion.ts";
import { stop } from "../../../lib/runtime/stop.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { primaryStatus } from "../core/observations.ts";
import { Bench, RUNNING } from "./fenced-node.ts";

const VALID: DataDirectory = { kind: "valid", majorVersion: 17 };
const UNREAD: DataDirectory = { kind: "foreign", sample: "/data cannot be read: EACCES", unread: true };
const FOREIGN: DataDirectory = { kind: "foreign", sample: "thesis.txt" };

test("a data directory that cannot be looked at is what it was while a server runs in it; a stranger's, or one without a server, is not", async () => {
  const context = await new Bench().node("primary");
  const seen = async (dataDirectory: DataDirectory, process: typeof RUNNING | { readonly kind: "none" } = RUNNING) => {
    context.postgres.inspect = async () => ({ dataDirectory, process });
    await lookAtPostgres(context);
    return context.state.local.dataDirectory;
  };
  expect(await seen(VALID)).toEqual(VALID);
  expect(await seen(UNREAD)).toEqual(VALID);
  expect(await seen(FOREIGN)).toEqual(FOREIGN);
  expect(await seen(UNREAD)).toEqual(UNREAD);
  expect(await seen(VALID)).toEqual(VALID);
  expect(await seen(UNREAD, { kind: "none" })).toEqual(UNREAD);
});

/** A primary of which each look sees the next of `answers`; null: a status. */
async function lookedAt(bench: Bench, answers: readonly (PostgresError | null)[], process = { ...RUNNING, stopped: false }) {
  const log = { ...recordingLog(), heartbeat: () => undefined };
  const context = { ...(await bench.node("primary")), log };
  const seen: (number | null)[] = [];
  for (const answer of answers) {
    context.postgres.inspect = async () => ({ dataDirectory: VALID, process });
    context.postgres.status = async () => (answer === null ? ok(primaryStatus()) : err(answer));
    await lookAtPostgres(context);
    seen.push(context.state.local.unservedSince);
    await bench.clock.advance(1000);
  }
  return { context, seen, warnings: log.lines.filter((line) => line.includes("WARNING")) };
}

const LATE: PostgresError = { kind: "timeout", message: "PostgreSQL did not answer within 1999 ms" };
const LATER: PostgresError = { kind: "timeout", message: "PostgreSQL did not answer within 2000 ms" };
const FULL: PostgresError = { kind: "unreachable", message: "sorry, too many clients already", answered: true };
const NO_WAY: PostgresError = { kind: "unreachable", message: "cannot connect: Connection refused" };

test("a server that answers nothing serves nobody from the first late answer on; a refusal of its own is an answer, a refused connection is none", async () => {
  const bench = new Bench();
  const at = bench.clock.now();
  expect((await lookedAt(bench, [LATE, LATER, NO_WAY, FULL, NO_WAY, LATE, null])).seen).toEqual(
    [at, at, at, null, null, at + 5000, null].map((value) => (value === null ? null : ms(value))),
  );
});

test("a server whose postmaster is stopped serves nobody, whatever it answers on a connection that it had", async () => {
  const bench = new Bench();
  const at = bench.clock.now();
  expect((await lookedAt(bench, [null, null], { ...RUNNING, stopped: true })).seen).toEqual([at, at]);
});

test("why a running server cannot be asked is told once for each reason, and again after it could", async () => {
  const { warnings } = await lookedAt(new Bench(), [LATE, LATER, FULL, LATE, FULL, null, FULL]);
  expect(warnings.map((line) => line.replace(/^.*asked: /, ""))).toEqual([LATE.message, FULL.message, FULL.message]);
});

test("a server that was stopped because it hung counts as crashed since it did", async () => {
  const bench = new Bench();
  const at = bench.clock.now();
  const { context } = await lookedAt(bench, [LATE, LATE]);
  context.postgres.stop = async () => ok(null);
  expect((await stop(context, "immediate", bench.clock.now())).ok).toBe(true);
  expect(context.state.local.crashedAt).toBe(at);
});

test("a look for which no file descriptor was left says nothing: the server is what it was, without a status, which is told once", async () => {
  const { context, warnings } = await (async () => {
    const looked = await lookedAt(new Bench(), [null]);
    looked.context.postgres.inspect = () => Promise.reject(Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" }));
    await lookAtPostgres(looked.context);
    await lookAtPostgres(looked.context);
    return { ...looked, warnings: looked.context.log.lines.filter((line) => line.includes("WARNING")) };
  })();
  const { process, status, dataDirectory } = context.state.local;
  expect({ process, status, dataDirectory }).toEqual({ process: RUNNING, status: null, dataDirectory: VALID });
  expect(warnings).toEqual(["WARNING: PostgreSQL cannot be looked at: EMFILE: too many open files"]);
});

const STARTING: PostgresError = { kind: "unreachable", message: "the database system is starting up", answered: true, passing: true };

test("a restart that was asked for ends no recovery, however long that takes: only a server that is not on its way is one that cannot be asked", async () => {
  const bench = new Bench();
  const { context } = await lookedAt(bench, [null, FULL, ...new Array(30).fill(STARTING)]);
  context.state.requests = { ...context.state.requests, restart: true };
  expect(restartsUnaskable(observe(context))).toBe(false);
  const since = bench.clock.now();
  const { context: full } = await lookedAt(bench, [null, STARTING, ...new Array(8).fill(FULL)]);
  full.state.requests = { ...full.state.requests, restart: true };
  expect(observe(full).local.statusMissingSince).toBe(ms(since + 2000));
  expect(restartsUnaskable(observe(full))).toBe(true);
});

test("names that commits do not wait for yet promise nothing: the position behind which they do is taken once they do", async () => {
  const bench = new Bench();
  const node = await bench.node("primary");
  node.state.settings = { ...node.state.settings, dynamic: { ...node.state.settings.dynamic, synchronousMode: "on" } };
  let [names, walLsn, waits]: [string, number, CommitWaiting] = ["b", 100, "not-yet"];
  let asked = 0;
  node.postgres.status = async () => ok({ ...primaryStatus(), synchronousStandbyNames: names, walLsn: lsn(walLsn) });
  node.postgres.commitsWait = async () => {
    asked += 1;
    return ok(waits);
  };
  const looks = async (): Promise<unknown> => {
    for (let each = 0; each < 3; each++) {
      await bench.clock.advance(1_000);
      walLsn += 1;
      await lookAtPostgres(node);
    }
    const since = node.state.local.syncNamesSince;
    return since === null ? null : { names: since.names, lsn: since.lsn };
  };
  expect([await looks(), await looks(), asked]).toEqual([null, null, 6]);
  waits = "yes";
  // Seen at the first of these looks, and the position taken at the next.
  expect(await looks()).toEqual({ names: "b", lsn: lsn(108) });
  // From names to other names commits wait all the while.
  names = "c";
  expect([await looks(), asked]).toEqual([{ names: "c", lsn: lsn(111) }, 7]);
  names = "";
  expect(await looks()).toEqual({ names: "", lsn: lsn(114) });
  names = "c";
  waits = "not-yet";
  expect(await looks()).toBeNull();
  // Nobody can tell: what is left is the time.
  waits = "unknown";
  expect(await looks()).toEqual({ names: "c", lsn: lsn(120) });
});

test("what a promotion has proved is not asked for again while its checkpoint keeps the answer back", async () => {
  const bench = new Bench();
  const node = await bench.leader();
  node.state.settings = { ...node.state.settings, dynamic: { ...node.state.settings.dynamic, synchronousMode: "on" } };
  node.postgres.callback = () => undefined;
  node.postgres.checkpoint = () => new Promise(() => undefined);
  node.postgres.promote = async ({ onWritable }) => {
    onWritable(true);
    return ok(null);
  };
  node.postgres.commitsWait = async () => ok("not-yet");
  node.postgres.status = async () => ok({ ...primaryStatus(), synchronousStandbyNames: "b", walLsn: lsn(100) });
  expect((await promote(node, "b", new AbortController().signal)).ok).toBe(true);
  await bench.clock.advance(1_000);
  await lookAtPostgres(node);
  expect(node.state.local.syncNamesSince).toMatchObject({ names: "b", lsn: lsn(100) });
});

test("names are not asked about while they are being changed, nor does a look fail that finds no file descriptor for it", async () => {
  const bench = new Bench();
  const node = await bench.node("primary");
  node.state.settings = { ...node.state.settings, dynamic: { ...node.state.settings.dynamic, synchronousMode: "on" } };
  node.postgres.status = async () => ok({ ...primaryStatus(), synchronousStandbyNames: "b", walLsn: lsn(100) });
  let asked = 0;
  node.postgres.commitsWait = async () => {
    asked += 1;
    throw Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" });
  };
  node.state.local.syncNamesChanging = true;
  await lookAtPostgres(node);
  expect([asked, node.state.local.syncNamesSeen?.waits]).toEqual([0, undefined]);
  node.state.local.syncNamesChanging = false;
  await lookAtPostgres(node);
  expect([asked, node.state.local.syncNamesSeen?.waits, node.state.local.status === null]).toEqual([1, undefined, false]);
});
