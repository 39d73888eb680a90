// Goal: each node has the slots that it should have, moves and drops no other, and the leader publishes what the others need.
// Method: observations with slots as the server would show them; the plan and the status key that follow.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { desiredSlots, slotOnPrimary } from "../../../lib/core/slots-desired.ts";
import { slotsPlan } from "../../../lib/core/slots-plan.ts";
import { changedStatus, type RetainedSlots, slotsStatus } from "../../../lib/core/slots-status.ts";
import type { Cluster } from "../../../lib/model/cluster.ts";
import type { DynamicConfig } from "../../../lib/model/dynamic-config.ts";
import type { Member, Tags } from "../../../lib/model/member.ts";
import type { SlotStatus } from "../../../lib/model/postgres.ts";
import type { PermanentSlot } from "../../../lib/model/slots.ts";
import { lsn, ms, seconds, timeline } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";
import { CONFIG, cluster, leading, local, member, observation, primaryStatus, status } from "./observations.ts";

const LOGICAL: PermanentSlot = { kind: "logical", name: "events", database: "app", plugin: "test_decoding", clusterType: null };

function slot(name: string, fields: Partial<SlotStatus> = {}): SlotStatus {
  return {
    name,
    type: "physical",
    active: false,
    plugin: null,
    database: null,
    restartLsn: lsn(500),
    confirmedFlushLsn: null,
    temporary: false,
    xmin: null,
    catalogXmin: null,
    lost: false,
    failover: false,
    ...fields,
  };
}

function logical(name: string, fields: Partial<SlotStatus> = {}): SlotStatus {
  return slot(name, { type: "logical", database: "app", plugin: "test_decoding", confirmedFlushLsn: lsn(500), ...fields });
}

function permanent(name: string, clusterType: "primary" | "standby" | null = null): PermanentSlot {
  return { kind: "physical", name, clusterType };
}

interface Case {
  readonly slots?: readonly SlotStatus[];
  readonly config?: Partial<DynamicConfig>;
  readonly cluster?: Partial<Cluster>;
  readonly tags?: Tags;
  readonly useSlots?: boolean;
  /** Slots that were there at the last change; left out: members or configuration have just changed. */
  readonly seen?: readonly string[];
}

function selfOf(o: Observation, { tags, useSlots }: Case): Observation["self"] {
  return { ...o.self, tags: tags ?? {}, useSlots: useSlots ?? true };
}

/** Node b leads a and c. */
function primary(fields: Case = {}): Observation {
  const base = leading();
  const view = { ...(base.dcs.cluster as Cluster), ...fields.cluster };
  const shown = local({ status: primaryStatus({ slots: fields.slots ?? [] }), lastRole: "primary", upstream: "" });
  return changed(leading({ cluster: view, local: shown, config: { ...CONFIG, ...fields.config }, self: selfOf(base, fields) }), fields);
}

/** Node b follows a, beside c. */
function replica(fields: Case = {}): Observation {
  const shown = local({ status: status({ slots: fields.slots ?? [] }) });
  const config = { ...CONFIG, ...fields.config };
  return changed(observation({ cluster: cluster(fields.cluster), local: shown, config, self: selfOf(observation(), fields) }), fields);
}

/** A change has just been seen, unless the case says what was there at the last one. */
function changed(o: Observation, { seen }: Case): Observation {
  const slotsFor = seen === undefined ? null : desiredSlots(o).text;
  return { ...o, local: { ...o.local, slotsFor, slotsSeen: new Set(seen ?? []) } };
}

function actionsOf(o: Observation): readonly string[] {
  return slotsPlan(o).actions.map((action) => {
    if (action.kind === "create-logical") return `create ${action.slot.name} in ${action.slot.database}`;
    if (action.kind === "advance") return `advance ${action.name} to ${action.to}`;
    return `${action.kind === "drop" ? "drop" : "create"} ${action.name}`;
  });
}

const withTags = (members: Readonly<Record<string, Tags>>, fields: Partial<Member> = {}): readonly Member[] =>
  ["a", "b", "c"].map((name) => member(name, { tags: members[name] ?? {}, ...fields }));

describe("a primary", () => {
  test("has a slot for each other member, and drops what nobody knows", () => {
    expect(actionsOf(primary())).toEqual(["create a", "create c"]);
    expect(actionsOf(primary({ slots: [slot("a"), slot("c"), slot("other")] }))).toEqual(["drop other"]);
    expect(actionsOf(primary({ slots: [slot("a"), slot("c"), logical("dummy")] }))).toEqual(["drop dummy"]);
  });

  test("leaves slots in use, temporary ones, ignored ones and those that PostgreSQL itself fails over", () => {
    const left = [slot("w", { active: true }), slot("x", { temporary: true }), logical("y", { failover: true }), logical("z")];
    const config = { ignoreSlots: [{ name: null, type: "logical", database: "app", plugin: null }] };
    expect(actionsOf(primary({ slots: [slot("a"), slot("c"), ...left], config }))).toEqual([]);
    const other = { ignoreSlots: [{ name: null, type: "logical", database: "another", plugin: null }] };
    expect(actionsOf(primary({ slots: [slot("a"), slot("c"), ...left], config: other }))).toEqual(["drop z"]);
  });

  test("leaves what was made since the last change to whoever made it, until the next change", () => {
    const slots = [slot("a"), slot("c"), slot("other")];
    expect(actionsOf(primary({ slots, seen: ["a", "c"] }))).toEqual([]);
    expect(actionsOf(primary({ slots, seen: ["a", "c", "other"] }))).toEqual(["drop other"]);
    expect(decide(primary({ slots }))).toMatchObject({ effect: { kind: "sync-slots", seen: new Set(["a", "c", "other"]) } });
  });

  test("drops nothing in pause, and makes what is missing", () => {
    expect(actionsOf(primary({ slots: [slot("a"), slot("other")], config: { pause: true } }))).toEqual(["create c"]);
  });

  test("keeps the slot of a member that is away for as long as the status key says so", () => {
    const view = { members: [member("b"), member("c")] };
    const retained = { ...view, status: { optime: lsn(1), slots: {}, retainSlots: ["a", "b", "c"] } };
    expect(actionsOf(primary({ slots: [slot("a"), slot("c")], cluster: retained }))).toEqual([]);
    expect(actionsOf(primary({ slots: [slot("a"), slot("c")], cluster: view }))).toEqual(["drop a"]);
    const config = { memberSlotsTtlMs: seconds(0) };
    expect(actionsOf(primary({ slots: [slot("a"), slot("c")], cluster: retained, config }))).toEqual(["drop a"]);
  });

  test("follows the position of a member that streams from another one", () => {
    const members = withTags({ c: { replicatefrom: "a" } }, { xlogLocation: lsn(900) });
    expect(actionsOf(primary({ slots: [slot("a"), slot("c")], cluster: { members } }))).toEqual(["advance c to 900"]);
    const away = withTags({ c: { replicatefrom: "gone" } }, { xlogLocation: lsn(900) });
    expect(actionsOf(primary({ slots: [slot("a"), slot("c")], cluster: { members: away } }))).toEqual([]);
  });

  test("has no slot for a member that does not stream", () => {
    expect(actionsOf(primary({ cluster: { members: withTags({ c: { nostream: true } }) } }))).toEqual(["create a"]);
  });

  test("makes permanent slots of both kinds, and none with its own name", () => {
    const config = { slots: [permanent("backup"), permanent("b"), LOGICAL] };
    expect(actionsOf(primary({ slots: [slot("a"), slot("c")], config }))).toEqual(["create backup", "create events in app"]);
    expect(actionsOf(primary({ slots: [slot("a"), slot("c"), slot("backup"), logical("events")], config }))).toEqual([]);
  });

  test("makes a slot anew whose kind, database or plugin has changed, unless it is in use", () => {
    const config = { slots: [permanent("events")] };
    const members = [slot("a"), slot("c")];
    expect(actionsOf(primary({ slots: [...members, logical("events")], config }))).toEqual(["drop events", "create events"]);
    expect(actionsOf(primary({ slots: [...members, logical("events", { active: true })], config }))).toEqual([]);
    const changed = { slots: [{ ...LOGICAL, plugin: "pgoutput" }] };
    expect(actionsOf(primary({ slots: [...members, logical("events")], config: changed }))).toEqual([
      "drop events",
      "create events in app",
    ]);
    const [drop] = slotsPlan(primary({ slots: [...members, logical("events")], config: changed })).actions;
    expect(drop).toMatchObject({ why: expect.stringContaining("because value is changing from {'type': 'logical'") });
  });

  test("makes a slot anew that is lost or keeps no WAL", () => {
    expect(actionsOf(primary({ slots: [slot("a", { lost: true }), slot("c", { restartLsn: null })] }))).toEqual([
      "drop a",
      "drop c",
      "create a",
      "create c",
    ]);
  });

  test("keeps a slot only in its kind of cluster", () => {
    const config = { slots: [permanent("one", "primary"), permanent("two", "standby")] };
    expect(actionsOf(primary({ slots: [slot("a"), slot("c"), slot("two")], config }))).toEqual(["drop two", "create one"]);
  });

  test("tells which names collide", () => {
    const members = [member("b"), member("x-y"), member("x.y")];
    expect(desiredSlots(primary({ cluster: { members } })).errors).toEqual([
      "Following cluster members share a replication slot name: x-y,x.y map to x_y",
    ]);
    const config = { slots: [{ ...LOGICAL, name: "a" }] };
    expect(desiredSlots(primary({ config })).errors[0]).toContain("is conflicting with physical replication slot for cluster member");
  });

  test("leaves alone the slots with which Citus moves and splits shards in its database", () => {
    const plugins = { move: "pgoutput", split: "citus" };
    const named = (name: string, fields: Partial<SlotStatus> = {}) => slot(name, { type: "logical", database: "app", ...fields });
    const slots = [
      slot("a"),
      slot("c"),
      named("citus_shard_move_slot_1_2", { plugin: plugins.move }),
      named("citus_shard_split_slot_1_2_3", { plugin: plugins.split }),
      named("citus_shard_split_slot_1_2_4", { plugin: plugins.move }),
      named("citus_shard_move_slot_1_2_5", { plugin: plugins.move, database: "other" }),
      named("citus_shard_move_slot_01_2", { plugin: plugins.move }),
    ];
    const foreign = ["drop citus_shard_split_slot_1_2_4", "drop citus_shard_move_slot_1_2_5", "drop citus_shard_move_slot_01_2"];
    const o = primary({ slots });
    expect(actionsOf({ ...o, self: { ...o.self, citusDatabase: "app" } })).toEqual(foreign);
    expect(actionsOf(o)).toHaveLength(5);
  });

  test("without use_slots drops its own slots and leaves the others", () => {
    expect(actionsOf(primary({ slots: [slot("a"), slot("c"), slot("other")], useSlots: false }))).toEqual(["drop a", "drop c"]);
  });
});

describe("a replica", () => {
  const published = (slots: Readonly<Record<string, number>>): Partial<Cluster> => ({
    status: { optime: lsn(1000), slots: Object.fromEntries(Object.entries(slots).map(([name, at]) => [name, lsn(at)])), retainSlots: [] },
  });

  test("keeps what the others would need of it as leader, and follows the published positions as far as it has replayed", () => {
    expect(actionsOf(replica())).toEqual(["create a", "create c"]);
    const view = published({ a: 5000, c: 800 });
    expect(actionsOf(replica({ slots: [slot("a"), slot("c")], cluster: view }))).toEqual(["advance a to 1000", "advance c to 800"]);
    expect(actionsOf(replica({ slots: [slot("a"), slot("c", { active: true })], cluster: published({ c: 800 }) }))).toEqual([]);
  });

  test("that may never lead keeps only what is read from it", () => {
    expect(actionsOf(replica({ tags: { nofailover: true } }))).toEqual([]);
    const members = withTags({ c: { replicatefrom: "b" } });
    expect(actionsOf(replica({ tags: { nofailover: true }, cluster: { members } }))).toEqual(["create c"]);
    expect(actionsOf(replica({ tags: { nofailover: true }, config: { slots: [permanent("backup")] }, cluster: { members } }))).toEqual([
      "create c",
    ]);
  });

  test("leaves the slot of a member that streams from it alone", () => {
    const view = { ...published({ a: 500, c: 900 }), members: withTags({ c: { replicatefrom: "b" } }) };
    expect(actionsOf(replica({ slots: [slot("a"), slot("c", { xmin: 7 })], cluster: view }))).toEqual([]);
  });

  test("with member_slots_ttl 0 keeps slots only for those that stream from it", () => {
    const config = { memberSlotsTtlMs: seconds(0) };
    expect(actionsOf(replica({ config }))).toEqual([]);
    expect(actionsOf(replica({ config, cluster: { members: withTags({ c: { replicatefrom: "b" } }) } }))).toEqual(["create c"]);
  });

  test("makes a slot anew that holds up vacuum although nobody uses it", () => {
    expect(actionsOf(replica({ slots: [slot("a", { xmin: 7 }), slot("c")] }))).toEqual(["drop a", "create a"]);
  });

  test("copies logical slots that the leader has, drops what is none of them, and follows their positions", () => {
    const config = { slots: [LOGICAL] };
    const members = [slot("a"), slot("c")];
    const at = published({ events: 900 });
    expect(slotsPlan(replica({ slots: members, config })).copies).toEqual([]);
    expect(slotsPlan(replica({ slots: members, config, cluster: at })).copies).toEqual([LOGICAL] as never);
    expect(actionsOf(replica({ slots: members, config, cluster: at }))).toEqual([]);
    expect(actionsOf(replica({ slots: [...members, logical("events")], config, cluster: at }))).toEqual(["advance events to 900"]);
    const lost = replica({ slots: [...members, logical("events", { lost: true })], config, cluster: at });
    expect([slotsPlan(lost).copies, actionsOf(lost)]).toEqual([[LOGICAL], []] as never);
    expect(actionsOf(replica({ slots: [...members, logical("dummy")], config, cluster: at }))).toEqual(["drop dummy"]);
  });

  test("restarts for a copy beside a serving leader, not in pause, and not again at once", () => {
    const view = published({ events: 900 });
    const base = replica({ slots: [slot("a"), slot("c")], config: { slots: [LOGICAL] }, cluster: view });
    const o = { ...base, local: { ...base.local, slotsFor: desiredSlots(base).text, slotsAt: base.now } };
    expect(decide(o)).toMatchObject({
      rule: "standby-copy-slots",
      why: "Copying logical slots ['events'] from the primary",
      effect: { kind: "copy-slots", source: { name: "a", host: "host-a", slotName: null }, slots: [LOGICAL] },
    });
    const paused = { ...o, config: { ...o.config, pause: true } };
    const settled = { ...paused, local: { ...o.local, slotsFor: desiredSlots(paused).text } };
    expect(decide(settled).effect.kind).toBe("wait");
    const down = cluster({ ...view, members: withTags({}, { state: "starting" }) });
    expect(decide({ ...o, dcs: { kind: "reachable", cluster: down, readAt: o.now } }).effect.kind).not.toBe("copy-slots");
    const copied = { kind: "copy-slots", finishedAt: ms(o.now - 1000), ok: true, message: "", failures: 0, plan: null } as const;
    expect(decide({ ...o, lastTask: copied }).rule).toBe("standby");
    expect(decide({ ...o, lastTask: { ...copied, finishedAt: ms(o.now - 60_000) } }).rule).toBe("standby-copy-slots");
    expect(decide({ ...o, lastTask: { ...copied, ok: false, failures: 1, finishedAt: o.now } }).rule).toBe("standby");
  });

  test("has no logical slots where no feedback of it reaches the primary", () => {
    const config = { slots: [LOGICAL, permanent("backup")] };
    const at = published({ events: 900 });
    expect(slotsPlan(replica({ config, cluster: at, tags: { nostream: true } })).copies).toEqual([]);
    expect(desiredSlots(replica({ config, cluster: at, tags: { nostream: true } })).slots.has("backup")).toBe(true);
    const members = withTags({ c: { nostream: true } });
    expect(slotsPlan(replica({ config, cluster: { ...at, members }, tags: { replicatefrom: "c" } })).copies).toEqual([]);
  });

  test("does nothing while nobody leads", () => {
    const o = replica({ slots: [slot("other")], cluster: { leader: null } });
    expect([actionsOf(o), desiredSlots(o).role]).toEqual([[], null]);
  });
});

describe("the standby leader", () => {
  test("keeps the members' and the physical permanent slots of its kind of cluster", () => {
    const standbyCluster = { host: "h", port: 1, primary_slot_name: null, create_replica_methods: null, restore_command: null };
    const config = {
      standbyCluster: { ...standbyCluster, archive_cleanup_command: null, recovery_min_apply_delay: null },
      slots: [permanent("one", "primary"), permanent("two", "standby"), LOGICAL],
    };
    const base = primary({ config });
    const o = { ...base, local: { ...base.local, status: status() } };
    expect([desiredSlots(o).role, actionsOf(o)]).toEqual(["standby_leader", ["create a", "create c", "create two"]]);
  });
});

describe("the slot on the primary", () => {
  test("is the node's own, or that of the standby that streams from the primary; none behind a node that does not stream", () => {
    const view = cluster({ members: withTags({ b: { replicatefrom: "c" }, c: { replicatefrom: "a" } }) });
    expect(slotOnPrimary(view, { name: "b", tags: { replicatefrom: "c" } })).toBe("c");
    expect(slotOnPrimary(view, { name: "c", tags: { replicatefrom: "a" } })).toBe("c");
    expect(slotOnPrimary(view, { name: "d", tags: { replicatefrom: "gone" } })).toBe("d");
    expect(
      slotOnPrimary(cluster({ members: withTags({ c: { nostream: true } }) }), { name: "b", tags: { replicatefrom: "c" } }),
    ).toBeNull();
    const ring = cluster({ members: withTags({ b: { replicatefrom: "c" }, c: { replicatefrom: "b" } }) });
    expect(slotOnPrimary(ring, { name: "b", tags: { replicatefrom: "c" } })).toBe("b");
  });
});

describe("the status key", () => {
  const none: RetainedSlots = new Map();

  test("holds the positions of all slots and of the leader itself, and the members' names that are not permanent", () => {
    const config = { slots: [permanent("backup"), permanent("c"), LOGICAL] };
    const slots = [slot("a"), slot("c"), slot("backup"), logical("events", { confirmedFlushLsn: lsn(700) }), slot("foreign")];
    const o = primary({ slots, config });
    const found = slotsStatus(o, none);
    expect(changedStatus(null, lsn(1000), found)).toEqual({
      optime: lsn(1000),
      slots: { a: lsn(500), b: lsn(1000), c: lsn(500), backup: lsn(500), events: lsn(700) },
      retainSlots: ["a", "b"],
    });
    const same = { optime: lsn(1000), slots: found.slots, retainSlots: ["a", "b"] };
    expect(changedStatus(same, lsn(1000), found)).toBeNull();
    expect(changedStatus({ ...same, slots: { ...found.slots, a: lsn(1) } }, lsn(1000), found)).not.toBeNull();
    expect(changedStatus({ ...same, retainSlots: ["a", "x"] }, lsn(1000), found)).not.toBeNull();
  });

  test("keeps a member that is gone for member_slots_ttl, counted from when it was last there", () => {
    const config = { memberSlotsTtlMs: seconds(60) };
    const there = primary({ slots: [slot("a"), slot("c")], config });
    const gone = { members: [member("b"), member("c")], status: { optime: lsn(1), slots: {}, retainSlots: ["a", "b", "c"] } };
    const first = slotsStatus(there, none);
    const away = primary({ slots: [slot("a"), slot("c")], config, cluster: gone });
    const later = slotsStatus({ ...away, now: ms(there.now + 59_000) }, first.retained);
    expect([[...later.retained.keys()].sort(), later.expired]).toEqual([["a", "b", "c"], []]);
    const over = slotsStatus({ ...away, now: ms(there.now + 60_000) }, later.retained);
    expect([[...over.retained.keys()].sort(), over.expired]).toEqual([["b", "c"], ["a"]]);
  });

  test("takes over what the leader before had retained, for the whole time anew", () => {
    const gone = { members: [member("b"), member("c")], status: { optime: lsn(1), slots: {}, retainSlots: ["a"] } };
    const found = slotsStatus(primary({ slots: [slot("c")], cluster: gone }), none);
    expect([...found.retained.keys()].sort()).toEqual(["a", "b", "c"]);
  });

  test("names no slots without retention and permanent slots, and without use_slots", () => {
    const slots = [slot("a"), slot("c")];
    const config = { memberSlotsTtlMs: seconds(0) };
    expect(slotsStatus(primary({ slots, config }), none)).toEqual({ slots: {}, retained: new Map(), expired: [] });
    expect(slotsStatus(primary({ slots, useSlots: false }), none).slots).toEqual({});
  });
});

test("the slots of before stand exactly as long as thinking them out anew gives the same", () => {
  const standing = fc.record({
    state: fc.constantFrom("running", "stopped"),
    role: fc.constantFrom("replica", "primary"),
    timeline: fc.constantFrom(timeline(1), timeline(2)),
    tags: fc.constantFrom<Tags>({}, {}, { replicatefrom: "b" }, { replicatefrom: "c" }, { nostream: true }),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(standing, standing, standing, fc.boolean()), { minLength: 2, maxLength: 8 }), (looks) => {
      const remembered: Tags = { replicatefrom: "c" };
      for (const [a, b, c, all] of looks) {
        const members = [member("a", a), member("b", b), ...(all ? [member("c", c)] : [])];
        const at = (tags: Tags) => desiredSlots(replica({ tags, cluster: { members } }));
        expect(at(remembered)).toEqual(at({ ...remembered }));
      }
    }),
  );
});
