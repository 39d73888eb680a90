// Goal: at each instant, whoever the sync key lets take over has every acknowledged commit, in each mode and on the way between them.
// Method: a small model of a primary, whose standbys come, go, lag and confirm while the steps are taken one by one; after each of them,
// and after everything else that happens, each voter is judged as if the leader died now. Beside it the steps of known changes.

import { describe, expect, test } from "bun:test";
import { formatQuorumNames, formatSyncNames, parseSyncSetting, STRICT_PLACEHOLDER } from "../../../lib/core/sync-names.ts";
import { type SyncStep, syncStep } from "../../../lib/core/sync-step.ts";
import type { DynamicConfig } from "../../../lib/model/dynamic-config.ts";
import type { Tags } from "../../../lib/model/member.ts";
import { lsn, revision } from "../../../lib/model/units.ts";
import { Random } from "../../simulation/random.ts";
import { CONFIG, connection, member, primaryStatus } from "./observations.ts";

interface Standby {
  readonly name: string;
  tags: Tags;
  streams: boolean;
  /** What it has flushed. */
  position: number;
}

/** A primary `p` with its standbys; positions are bytes. */
class Model {
  readonly standbys: Standby[];
  config: DynamicConfig;
  key: { leader: string | null; standbys: readonly string[]; quorum: number } = { leader: null, standbys: [], quorum: 0 };
  setting = "";
  /** Some backends still go by the setting of before. */
  before: string | null = null;
  since: { names: string; lsn: ReturnType<typeof lsn> } | null = null;
  written = 1000;
  acknowledged = 0;
  readonly told: string[] = [];

  constructor(config: Partial<DynamicConfig>, names: readonly string[]) {
    this.config = { ...CONFIG, ...config };
    this.standbys = names.map((name) => ({ name, tags: {}, streams: true, position: 1000 }));
  }

  standby(name: string): Standby {
    const found = this.standbys.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no standby ${name}`);
    return found;
  }

  next(): SyncStep {
    const waited = parseSyncSetting(this.setting).names;
    const state = waited.length === 0 ? "async" : parseSyncSetting(this.setting).method === "any" ? "quorum" : "sync";
    return syncStep({
      self: "p",
      config: this.config,
      members: [member("p"), ...this.standbys.map(({ name, tags }) => member(name, { tags }))],
      sync: { revision: revision(1), ...this.key },
      status: primaryStatus({
        walLsn: lsn(this.written),
        synchronousStandbyNames: this.setting,
        replication: this.standbys
          .filter(({ streams }) => streams)
          .map(({ name, position }) => connection(name, { flushLsn: lsn(position), syncState: waited.includes(name) ? state : "async" })),
      }),
      position: "flush",
      since: this.since,
      managed: this.setting !== "",
      grace: false,
    });
  }

  take(step: SyncStep): void {
    if (step.kind === "delete-key") this.key = { leader: null, standbys: [], quorum: 0 };
    if (step.kind === "write-key") this.key = { leader: "p", standbys: step.standbys, quorum: step.quorum };
    if (step.kind === "set-names") {
      this.before ??= this.setting;
      this.setting = step.value ?? "";
      this.since = null;
    }
    if (step.kind === "write-key") this.told.push(`key ${step.quorum} of (${step.standbys.join(",")})`);
    if (step.kind === "delete-key") this.told.push("no key");
    if (step.kind === "set-names") this.told.push(`wait for '${step.value ?? ""}'`);
  }

  settle(): void {
    this.before = null;
    this.since ??= { names: this.setting, lsn: lsn(this.written) };
  }

  /** Everything that may be acknowledged now is. */
  acknowledge(): void {
    for (const text of this.before === null ? [this.setting] : [this.setting, this.before]) {
      const { count, names, method } = parseSyncSetting(text);
      const there = names.map((name) => this.standbys.find((each) => each.name === name)).filter((each) => each?.streams === true);
      const positions = there.map((each) => each?.position ?? 0);
      const chosen = method === "any" ? [...positions].sort((a, b) => b - a).slice(0, count) : positions.slice(0, count);
      const confirmed = count === 0 ? this.written : chosen.length < count ? 0 : Math.min(...chosen);
      // Without a key nothing is promised.
      if (this.key.leader !== null || count > 0) this.acknowledged = Math.max(this.acknowledged, confirmed);
    }
  }

  /** The voters that could be promoted now and lack an acknowledged commit. */
  unsafe(): readonly string[] {
    const { standbys, quorum, leader } = this.key;
    if (leader === null) return [];
    return standbys.filter((name) => {
      const own = this.standby(name).position;
      const votes = standbys.filter((other) => other !== name && this.standby(other).position <= own).length;
      return votes >= quorum && own < this.acknowledged;
    });
  }

  /** To the end of the way, all standbys being near. */
  settleDown(): void {
    for (let round = 0; round < 12; round += 1) {
      for (const each of this.standbys) if (each.streams) each.position = this.written;
      this.settle();
      const step = this.next();
      if (step.kind === "done") return;
      this.take(step);
    }
    throw new Error(`not settled: ${this.told.join(" → ")}`);
  }
}

function happens(model: Model, random: Random): string {
  const one = random.pick(model.standbys);
  const what = random.pick([
    "write",
    "write",
    "receive",
    "receive",
    "receive",
    "settle",
    "leave",
    "come",
    "tags",
    "config",
    "step",
    "step",
    "step",
  ]);
  if (what === "write") model.written += random.whole(1, 50);
  if (what === "receive" && one.streams) one.position = random.whole(one.position, model.written);
  if (what === "settle") model.settle();
  if (what === "leave") one.streams = false;
  if (what === "come") one.streams = true;
  if (what === "tags") one.tags = random.pick([{}, {}, { nosync: true }, { nofailover: true }, { sync_priority: 2 }]);
  if (what === "config") {
    model.config = {
      ...model.config,
      synchronousMode: random.pick(["on", "quorum", "quorum"]),
      synchronousModeStrict: random.chance(0.3),
      synchronousNodeCount: random.whole(1, 3),
    };
  }
  if (what === "step") {
    const step = model.next();
    model.take(step);
    return `step ${JSON.stringify(step)}`;
  }
  return `${what} ${one.name}`;
}

test("whatever happens between the steps, no voter of the key that could be promoted lacks an acknowledged commit", () => {
  let steps = 0;
  for (let seed = 1; seed <= 1500; seed += 1) {
    const random = new Random(seed);
    const names = ["a", "b", "c", "d"].slice(0, random.whole(1, 4));
    const model = new Model({ synchronousMode: random.pick(["on", "quorum"]), synchronousNodeCount: random.whole(1, 3) }, names);
    // The key stands before the first commit that is promised anything.
    model.take(model.next());
    model.settle();
    const trace: string[] = [];
    for (let event = 0; event < 120; event += 1) {
      trace.push(happens(model, random));
      model.acknowledge();
      const unsafe = model.unsafe();
      if (unsafe.length > 0) {
        throw new Error(
          `seed ${seed}: ${unsafe} lack ${model.acknowledged}; ${JSON.stringify(model.key)}, '${model.setting}'\n${trace.join("\n")}`,
        );
      }
    }
    steps += model.told.length;
    const { synchronousMode: mode, synchronousModeStrict: strict, synchronousNodeCount: count } = model.config;
    model.settleDown();
    const eligible = model.standbys.filter(({ streams, tags }) => streams && tags["nosync"] !== true);
    if (eligible.length === 0) {
      const placeholder = mode === "quorum" ? `ANY 1 (${STRICT_PLACEHOLDER})` : STRICT_PLACEHOLDER;
      expect(model.setting).toBe(strict ? placeholder : "");
      continue;
    }
    const waited = Math.min(count, eligible.length);
    const { standbys, quorum } = model.key;
    expect(standbys.length - quorum).toBe(waited);
    expect(model.setting).toBe(mode === "quorum" ? formatQuorumNames(waited, standbys) : formatSyncNames(standbys));
  }
  expect(steps).toBeGreaterThan(10_000);
});

describe("the way", () => {
  const quorum = { synchronousMode: "quorum" as const };

  function settled(config: Partial<DynamicConfig>, names: readonly string[]): Model {
    const model = new Model(config, names);
    model.settleDown();
    model.told.length = 0;
    return model;
  }

  test("into quorum commit: the key of the leader alone, the setting, the voters", () => {
    const model = new Model(quorum, ["a", "b", "c"]);
    model.settleDown();
    expect(model.told).toEqual(["key 0 of ()", "wait for 'ANY 1 (a,b,c)'", "key 2 of (a,b,c)"]);
  });

  test("of a voter that joins: he counts as one more to be compared with before any commit may rely on him", () => {
    const model = settled(quorum, ["a", "b"]);
    model.standbys.push({ name: "c", tags: {}, streams: true, position: 0 });
    model.settleDown();
    expect(model.told).toEqual(["key 2 of (a,b,c)", "wait for 'ANY 1 (a,b,c)'"]);
  });

  test("of a voter that is lost: first nobody waits for him, then the key forgets him", () => {
    const model = settled({ ...quorum, synchronousNodeCount: 2 }, ["a", "b", "c"]);
    model.standby("c").streams = false;
    model.settleDown();
    expect(model.told).toEqual(["wait for 'ANY 2 (a,b)'", "key 0 of (a,b)"]);
  });

  test("to more copies of each commit: the setting first, and to fewer: the key first", () => {
    const model = settled(quorum, ["a", "b", "c"]);
    model.config = { ...model.config, synchronousNodeCount: 2 };
    model.settleDown();
    model.config = { ...model.config, synchronousNodeCount: 1 };
    model.settleDown();
    expect(model.told).toEqual(["wait for 'ANY 2 (a,b,c)'", "key 1 of (a,b,c)", "key 2 of (a,b,c)", "wait for 'ANY 1 (a,b,c)'"]);
  });

  test("from quorum commit to one standby goes over a key without any, for who reads the key in mode on asks nobody", () => {
    const model = settled(quorum, ["a", "b"]);
    model.config = { ...model.config, synchronousMode: "on" };
    model.settleDown();
    expect(model.told).toEqual(["key 0 of ()", "wait for 'a'", "key 0 of (a)"]);
    model.told.length = 0;
    model.config = { ...model.config, synchronousMode: "quorum" };
    model.settleDown();
    expect(model.told).toEqual(["key 1 of (a,b)", "wait for 'ANY 1 (a,b)'"]);
  });

  test("out of it: the key goes first", () => {
    const model = settled(quorum, ["a", "b"]);
    model.config = { ...model.config, synchronousMode: "off" };
    model.settleDown();
    expect(model.told).toEqual(["no key", "wait for ''"]);
  });

  test("with nobody left: not strict the key forgets them first; strict it keeps them, and nothing is acknowledged", () => {
    for (const strict of [false, true]) {
      const model = settled({ ...quorum, synchronousModeStrict: strict }, ["a", "b"]);
      for (const each of model.standbys) each.streams = false;
      model.settleDown();
      expect(model.told).toEqual(strict ? [`wait for 'ANY 1 (${STRICT_PLACEHOLDER})'`] : ["key 0 of ()", "wait for ''"]);
    }
  });

  test("of a setting that somebody changed by hand: the key claims no more than it promises", () => {
    const model = settled({ synchronousMode: "on", synchronousNodeCount: 2 }, ["a", "b"]);
    model.setting = "a";
    expect(model.next()).toMatchObject({ kind: "write-key", standbys: ["a"], quorum: 0 });
    model.setting = "ANY 1 (*)";
    expect(model.next()).toMatchObject({ kind: "write-key", standbys: [], quorum: 0 });
  });
});

describe("the choice", () => {
  function chosen(config: Partial<DynamicConfig>, change: (model: Model) => void): readonly string[] {
    const model = new Model(config, ["a", "b", "c"]);
    change(model);
    model.settleDown();
    return model.key.standbys;
  }

  test("goes by sync_priority, even where another one is synchronous already, and who may not lead comes last", () => {
    const on = { synchronousMode: "on" as const };
    expect(chosen(on, () => {})).toEqual(["a"]);
    const model = new Model(on, ["a", "b", "c"]);
    model.settleDown();
    model.standby("b").tags = { sync_priority: 2 };
    model.settleDown();
    expect(model.key.standbys).toEqual(["b"]);
    model.standby("b").tags = { sync_priority: 2, nofailover: true };
    model.settleDown();
    expect(model.key.standbys).toEqual(["a"]);
  });

  test("leaves out nosync and a sync_priority of 0, and the boolean wins where they contradict each other", () => {
    const tags = (a: Tags, b: Tags, c: Tags) => (model: Model) => {
      for (const [name, value] of Object.entries({ a, b, c })) model.standby(name).tags = value;
    };
    const quorum = { synchronousMode: "quorum" as const };
    expect(chosen(quorum, tags({ nosync: true }, { sync_priority: 0 }, {}))).toEqual(["c"]);
    expect(chosen(quorum, tags({ nosync: false, sync_priority: 0 }, { nosync: true, sync_priority: 1 }, {}))).toEqual(["a", "c"]);
  });

  test("of a quorum has members that may not lead only where each commit has to be on all of them", () => {
    const change = (model: Model): void => {
      for (const name of ["b", "c"]) model.standby(name).tags = { nofailover: true };
    };
    expect(chosen({ synchronousMode: "quorum" }, change)).toEqual(["a"]);
    expect(chosen({ synchronousMode: "quorum", synchronousNodeCount: 2 }, change)).toEqual(["a", "b"]);
  });

  test("drops who lags by more than maximum_lag_on_syncnode behind the one that is furthest ahead; 0 is no limit", () => {
    const at = (maximumLagOnSyncnodeBytes: number): SyncStep => {
      const model = new Model({ synchronousMode: "quorum", maximumLagOnSyncnodeBytes }, ["a", "b"]);
      model.take(model.next());
      model.written = 9000;
      model.standby("a").position = 8000;
      model.standby("b").position = 7000;
      return model.next();
    };
    expect(at(999)).toMatchObject({ value: "ANY 1 (a)" });
    expect(at(1000)).toMatchObject({ value: "ANY 1 (a,b)" });
    expect(at(0)).toMatchObject({ value: "ANY 1 (a,b)" });
  });
});
