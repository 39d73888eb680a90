// The worker of the scheduled backups on several nodes over one store; pgBackRest is a program that the test ends as it likes.

import { describe, expect, test } from "bun:test";
import { BackupBoard } from "../../../lib/dcs/backup-runs.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import type { BackupRecord } from "../../../lib/model/backup-run.ts";
import type { EventBody } from "../../../lib/model/event.ts";
import { err, ok } from "../../../lib/model/result.ts";
import { ms, revision, seconds } from "../../../lib/model/units.ts";
import { unreadableUpgrade } from "../../../lib/model/upgrade.ts";
import type { ProgramRequest, RunProgram } from "../../../lib/postgres/context.ts";
import { BackupRunner } from "../../../lib/runtime/backup/backup-runner.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { touchMember } from "../../../lib/runtime/touch-member.ts";
import { Bench, template } from "./fenced-node.ts";

const HOUR_MS = 3_600_000;
const STEP_MS = 5000;
const KEYS = clusterKeys({ namespace: template.namespace, scope: template.scope, group: null });
const LISTING = JSON.stringify([
  {
    name: "demo",
    status: { code: 0, message: "ok" },
    backup: [
      {
        label: "20260101-000000F",
        type: "full",
        timestamp: { start: 4_000_000_000, stop: 4_000_000_001 },
        info: { size: 1, repository: { delta: 1 } },
        database: { id: 1 },
      },
    ],
    archive: [],
    db: [{ id: 1, "system-id": 7 }],
  },
]);

/** One node with its worker, and the backups that its pgBackRest was asked for. */
class Site {
  readonly context: NodeContext;
  readonly runner: BackupRunner;
  readonly events: Extract<EventBody, { kind: "backup" }>[] = [];
  readonly asked: string[] = [];
  readonly warnings: string[] = [];
  /** That of its record. */
  readonly store: MemoryStore;
  /** Ends what runs, with an exit status. */
  end: (exitCode: number) => void = () => undefined;

  constructor(bench: Bench, context: NodeContext) {
    this.context = context;
    const node = context.state.settings.node;
    const schedule = { times: { full: "0 * * * *" }, timezone: "UTC", onLeader: "never", retryAfterMs: seconds(60) } as const;
    const pgbackrest = { stanza: "demo", config: null, command: "pgbackrest", schedule };
    context.state.settings = { ...context.state.settings, node: { ...node, pgbackrest } };
    const store = new MemoryStore({ cluster: bench.data, clock: bench.clock });
    this.store = store;
    const log = { ...context.log, warning: (text: string) => void this.warnings.push(text) };
    const note = (body: EventBody): void => {
      if (body.kind === "backup") this.events.push(body);
    };
    this.runner = new BackupRunner({ context: { ...context, log }, board: new BackupBoard({ store, keys: KEYS }), note, run: this.#run });
  }

  readonly #run: RunProgram = ({ argv, signal }: ProgramRequest) => {
    if (argv.at(-1) === "info") return Promise.resolve(ok({ exitCode: 0, stdout: LISTING, stderr: "" }));
    this.asked.push(argv.slice(1).join(" "));
    return new Promise((resolve) => {
      this.end = (exitCode) => resolve(ok({ exitCode, stdout: "", stderr: exitCode === 0 ? "" : "ERROR: [056]: it says why" }));
      signal?.addEventListener("abort", () => resolve(err({ kind: "cancelled", message: "ended" })));
    });
  };

  /** As at the end of a cycle. */
  async cycle(): Promise<void> {
    await refreshCluster(this.context);
    await this.context.store.ensureSession({ deadline: ms(this.context.clock.now() + 1000) });
    await touchMember(this.context);
    await refreshCluster(this.context);
    await this.runner.note();
  }

  async record(): Promise<BackupRecord> {
    await refreshCluster(this.context);
    const record = this.context.state.cluster?.backup ?? null;
    if (record === null) throw new Error("nothing is written down");
    return record;
  }
}

/** A leader and two replicas that know of the schedule; it is one minute before the next backup is due. */
async function sites(): Promise<{ readonly bench: Bench; readonly a: Site; readonly b: Site; readonly c: Site }> {
  const bench = new Bench();
  const a = new Site(bench, await bench.leader());
  const b = new Site(bench, await bench.node("replica", "b"));
  const c = new Site(bench, await bench.node("replica", "c"));
  for (const site of [a, b, c]) await site.cycle();
  for (const site of [a, b, c]) await site.cycle();
  return { bench, a, b, c };
}

/** Time goes by; the sessions are renewed meanwhile. */
async function pass(bench: Bench, all: readonly Site[], duration: number): Promise<void> {
  for (let left = duration; left > 0; left -= STEP_MS) {
    await bench.clock.advance(Math.min(STEP_MS, left));
    for (const site of all) {
      const renewed = await site.context.store.renewSession({ deadline: ms(bench.clock.now() + 1000) });
      expect(renewed.ok).toBe(true);
    }
  }
}

async function untilDue(bench: Bench, all: readonly Site[]): Promise<void> {
  await pass(bench, all, HOUR_MS - (bench.clock.wallNow() % HOUR_MS));
  for (const site of all) await site.cycle();
}

describe("a backup that is due", () => {
  test("is taken by one replica, from a standby, and written down with its label", async () => {
    const { bench, a, b, c } = await sites();
    await untilDue(bench, [a, b, c]);
    const [taker, other] = b.asked.length > 0 ? [b, c] : [c, b];
    expect(taker.asked).toEqual(["--stanza=demo --type=full --backup-standby=y backup"]);
    expect([a.asked, other.asked]).toEqual([[], []]);
    const node = taker.context.state.settings.node.name;
    expect((await a.record()).run).toMatchObject({ type: "full", node, attempt: 1 });
    // Its own view is older than its claim: nothing follows from that.
    await taker.runner.note();
    for (const site of [a, other]) await site.cycle();
    expect([a.asked, other.asked]).toEqual([[], []]);
    taker.end(0);
    await bench.clock.advance(0);
    await taker.cycle();
    const record = await a.record();
    expect([record.run, record.types.full?.done, record.types.full?.failed]).toEqual([
      null,
      expect.objectContaining({ node, label: "20260101-000000F" }),
      null,
    ]);
    expect(a.context.state.cluster?.backupClaim).toBeNull();
    expect(taker.events.map(({ what }) => what)).toEqual(["started", "done"]);
    for (const site of [a, b, c]) await site.cycle();
    expect(b.asked.length + c.asked.length).toBe(1);
  });

  test("failed: the others see why, and it is tried again by the other replica", async () => {
    const { bench, a, b, c } = await sites();
    await untilDue(bench, [a, b, c]);
    const [taker, other] = b.asked.length > 0 ? [b, c] : [c, b];
    taker.end(56);
    await bench.clock.advance(0);
    await taker.cycle();
    expect((await a.record()).types.full?.failed).toMatchObject({ attempt: 1, message: expect.stringContaining("[056]: it says why") });
    await pass(bench, [a, b, c], 20_000);
    for (const site of [taker, other]) await site.cycle();
    expect(other.asked.length).toBe(0);
    await pass(bench, [a, b, c], 40_000);
    for (const site of [taker, other]) await site.cycle();
    expect([taker.asked.length, other.asked.length]).toEqual([1, 1]);
    expect((await a.record()).run?.attempt).toBe(2);
  });
});

describe("a backup under way", () => {
  async function underWay() {
    const all = await sites();
    const { bench, a, b, c } = all;
    await untilDue(bench, [a, b, c]);
    const [taker, other] = b.asked.length > 0 ? [b, c] : [c, b];
    return { bench, a, taker, other };
  }

  test("is ended where its node leads, and told as failed", async () => {
    const { bench, a, taker } = await underWay();
    await refreshCluster(taker.context);
    taker.context.state.local.lastRole = "primary";
    await taker.runner.note();
    await bench.clock.advance(0);
    taker.context.state.local.lastRole = "replica";
    await taker.cycle();
    expect((await a.record()).types.full?.failed?.message).toBe("it was ended: this node leads now");
  });

  test("is ended where a major upgrade of the cluster begins", async () => {
    const { bench, a, taker } = await underWay();
    await refreshCluster(taker.context);
    const { state } = taker.context;
    if (state.cluster === null) throw new Error("it was read");
    const upgrade = { ...unreadableUpgrade(revision(1)), phase: "stop", fromMajor: 15, toMajor: 17 } as const;
    state.cluster = { ...state.cluster, upgrade };
    await taker.runner.note();
    await bench.clock.advance(0);
    await taker.cycle();
    const message = "it was ended: the cluster is being upgraded from PostgreSQL 15 to 17";
    expect((await a.record()).types.full?.failed?.message).toBe(message);
  });

  test("whose session is gone is told as lost by another, and ended by its own node, which says nothing more", async () => {
    const { bench, a, taker, other } = await underWay();
    const session = taker.context.store.session()?.id ?? "";
    await new MemoryStore({ cluster: bench.data, clock: bench.clock }).closeSession(session, { deadline: ms(bench.clock.now() + 1000) });
    await other.cycle();
    const { run, types } = await a.record();
    expect([run, types.full?.failed?.attempt, types.full?.failed?.message]).toEqual([null, 1, "it died"]);
    expect(other.events.map(({ what }) => what)).toEqual(["lost"]);
    await taker.cycle();
    await bench.clock.advance(0);
    await taker.cycle();
    expect(taker.events.map(({ what }) => what)).toEqual(["started", "failed"]);
    expect((await a.record()).types.full?.failed?.message).toBe("it died");
  });

  test.each([
    ["removed", null],
    ["removed and founded anew", JSON.stringify({ types: { full: { covered: 1 } }, run: null })],
    ["garbled", "no record"],
  ] as const)("ends its claim also where its record was %s meanwhile, and failed", async (_, value) => {
    const { bench, a, taker } = await underWay();
    const store = new MemoryStore({ cluster: bench.data, clock: bench.clock });
    const deadline = ms(bench.clock.now() + 1000);
    const change = value === null ? ({ kind: "delete", key: KEYS.backup } as const) : ({ kind: "put", key: KEYS.backup, value } as const);
    expect((await store.transaction([change], { deadline })).ok).toBe(true);
    taker.end(56);
    await bench.clock.advance(0);
    await taker.cycle();
    await refreshCluster(a.context);
    expect(a.context.state.cluster?.backupClaim).toBeNull();
  });

  test("whose claim was garbled is ended by its node, which removes what is left of the claim", async () => {
    const { bench, a, taker } = await underWay();
    const store = new MemoryStore({ cluster: bench.data, clock: bench.clock });
    const garbled = await store.transaction([{ kind: "put", key: KEYS.backupRun, value: "no claim" }], {
      deadline: ms(bench.clock.now() + 1000),
    });
    expect(garbled.ok).toBe(true);
    await taker.cycle();
    await bench.clock.advance(0);
    await taker.cycle();
    expect([(await a.record()).run, a.context.state.cluster?.backupClaim]).toEqual([null, null]);
  });

  test("left a claim behind that the record does not name: its node's next supervisor removes it", async () => {
    const { bench, a, taker } = await underWay();
    const store = new MemoryStore({ cluster: bench.data, clock: bench.clock });
    const deadline = ms(bench.clock.now() + 1000);
    const record = JSON.stringify({ types: { full: { covered: bench.clock.wallNow() } }, run: null });
    expect((await store.transaction([{ kind: "put", key: KEYS.backup, value: record }], { deadline })).ok).toBe(true);
    await new Site(bench, taker.context).cycle();
    expect([(await a.record()).run, a.context.state.cluster?.backupClaim]).toEqual([null, null]);
  });

  test("is ended with its supervisor, and the others know it at once", async () => {
    const { a, taker } = await underWay();
    await taker.runner.close();
    expect((await a.record()).types.full?.failed?.message).toBe("it was ended: its supervisor was stopped");
    expect((await a.record()).run).toBeNull();
    expect(a.context.state.cluster?.backupClaim).toBeNull();
  });

  test("of a supervisor that was killed is given back by the next one of its node", async () => {
    const { bench, a, taker } = await underWay();
    const again = new Site(bench, taker.context);
    await again.cycle();
    expect(again.events.map(({ what }) => what)).toEqual(["lost"]);
    expect([(await a.record()).run, a.context.state.cluster?.backupClaim ?? null]).toEqual([null, null]);
  });

  test("that ended while the DCS was away is written down when it is back", async () => {
    const { bench, a, taker } = await underWay();
    taker.context.state.dcsFailure = { since: bench.clock.now(), reason: "away" };
    taker.end(0);
    await bench.clock.advance(0);
    await taker.runner.note();
    expect((await a.record()).run).not.toBeNull();
    taker.context.state.dcsFailure = null;
    await taker.cycle();
    expect((await a.record()).types.full?.done?.label).toBe("20260101-000000F");
  });
});

test("backups go on where the DCS was made anew, with smaller revisions than those that were written", async () => {
  const { bench, a, b, c } = await sites();
  await untilDue(bench, [a, b, c]);
  const taker = b.asked.length > 0 ? b : c;
  const { state } = taker.context;
  await refreshCluster(taker.context);
  const seen = state.cluster;
  if (seen === null) throw new Error("it was read");
  state.startOver();
  state.cluster = { ...seen, revision: revision(1), backup: null, backupClaim: null };
  await taker.runner.note();
  await bench.clock.advance(0);
  await taker.cycle();
  expect(taker.events.map(({ what }) => what)).toEqual(["started", "failed"]);
  expect((await a.record()).types.full?.failed?.message).toBe("it was ended: its claim in the DCS is gone");
});

test("a time far ahead in the record is set back with a warning, once a day by each node: it may be its own clock that is wrong", async () => {
  const { bench, a, b } = await sites();
  const ahead = async () => {
    const state = { covered: bench.clock.wallNow() + 100 * HOUR_MS };
    const put = { kind: "put", key: KEYS.backup, value: JSON.stringify({ types: { full: state }, run: null }) } as const;
    expect((await b.store.transaction([put], { deadline: ms(bench.clock.now() + 1000) })).ok).toBe(true);
    return state.covered;
  };
  const covered = async () => (await a.record()).types.full?.covered;
  await ahead();
  await b.cycle();
  expect(await covered()).toBe(bench.clock.wallNow());
  expect(b.warnings).toEqual([expect.stringContaining("backup: full: the record had times far ahead of this node's clock")]);
  const again = await ahead();
  await b.cycle();
  expect([await covered(), b.warnings.length]).toEqual([again, 1]);
  await a.cycle();
  expect(await covered()).toBe(bench.clock.wallNow());
});

test("a store that refuses the record is told of once", async () => {
  const bench = new Bench();
  const a = new Site(bench, await bench.leader());
  const transaction = a.store.transaction.bind(a.store);
  a.store.transaction = () => Promise.resolve(err({ kind: "rejected", reason: "Permission denied" }));
  for (let cycle = 0; cycle < 3; cycle += 1) await a.cycle();
  expect(a.warnings).toEqual([expect.stringMatching(/^backup: not written down \(founded\): .*Permission denied/)]);
  a.store.transaction = transaction;
  await a.cycle();
  expect((await a.record()).types.full).toBeDefined();
  expect(a.warnings.length).toBe(1);
});

test("where no replica runs, the leader tells of it once, and takes none", async () => {
  const bench = new Bench();
  const a = new Site(bench, await bench.leader());
  await a.cycle();
  await a.cycle();
  await bench.clock.advance(HOUR_MS);
  // Its own lock and session ran out meanwhile; what counts here is what it sees.
  const { state } = a.context;
  if (state.cluster === null) throw new Error("it was read");
  await a.runner.note();
  await a.runner.note();
  expect(a.events.map(({ what }) => what)).toEqual(["overdue"]);
  expect(a.asked).toEqual([]);
});
