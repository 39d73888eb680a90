// Owns the known bugs that can be planted, to show that the invariants find them. Each changes a fake, a request on its way, or
// takes a rule out of the table; without a plant everything here is transparent.

import { RULES } from "../../lib/core/decide.ts";
import type { Change, RequestOptions, Snapshot, Store } from "../../lib/dcs/store.ts";
import type { Clock } from "../../lib/model/clock.ts";
import type { StoreError } from "../../lib/model/errors.ts";
import { ok, type Result } from "../../lib/model/result.ts";
import { ms, type Revision, revision } from "../../lib/model/units.ts";
import type { PostgresPlants } from "./fake-postgres.ts";

export interface Plants extends PostgresPlants {
  readonly guardDisabled: boolean;
  readonly guardLateMs: number;
  readonly timelinesReused: boolean;
  readonly unknownRead: "as it is" | "as done";
  readonly markIgnored: boolean;
  readonly everyoneSynchronous: boolean;
  readonly unfencedIgnored: boolean;
  /** What a primary makes of a member that does not answer its heartbeat. */
  readonly silentMember: "silent" | "accepted";
  /** The clock that the cluster store counts leases with. */
  lateClock(clock: Clock): Clock;
}

const NONE: Plants = {
  followsWithoutRewind: false,
  sessionBelieved: false,
  guardDisabled: false,
  guardLateMs: 0,
  timelinesReused: false,
  unknownRead: "as it is",
  markIgnored: false,
  everyoneSynchronous: false,
  unfencedIgnored: false,
  silentMember: "silent",
  lateClock: (clock) => clock,
};

export interface Plant {
  readonly what: string;
  readonly plants?: Partial<Plants>;
  /** Rules taken out of the table. */
  readonly without?: readonly string[];
}

export const PLANTS: Readonly<Record<string, Plant>> = {
  "guard-disabled": { what: "the guard never acts", plants: { guardDisabled: true } },
  "mark-ignored": {
    what: "a candidate takes every lease mark for a released one, so it does not wait for the lease to end",
    plants: { markIgnored: true },
  },
  "unfenced-ignored": {
    what: "a candidate does not look whether a primary that a pause left without fencing still runs",
    plants: { unfencedIgnored: true },
  },
  "lease-from-answer": {
    what: "the lease counts from after the answer instead of before the request, with answers that are late",
    plants: {
      lateClock: (clock) => ({
        now: () => (clock.now() + 3000) as ReturnType<Clock["now"]>,
        wallNow: () => clock.wallNow(),
        sleepUntil: (at, signal) => clock.sleepUntil(at, signal),
      }),
    },
  },
  "unknown-as-done": { what: "a request whose outcome is unknown counts as done", plants: { unknownRead: "as done" } },
  "sync-key-ignored": { what: "every member counts as a synchronous standby", plants: { everyoneSynchronous: true } },
  "sync-key-kept": {
    what: "the sync key stays as it was, through promotions and changes of standbys",
    without: ["promote-sync-key", "promote-sync-key-failed", "leader-sync-key"],
  },
  "votes-ignored": {
    what: "a voter of a quorum takes over without being compared with the others",
    without: ["race-not-healthiest", "race-without-quorum", "promote-not-allowed"],
  },
  "follow-without-rewind": { what: "diverged data is believed to be a prefix of the leader's", plants: { followsWithoutRewind: true } },
  "session-believed": {
    what: "names that a session shows count as waited for, although the checkpointer has not taken them yet",
    plants: { sessionBelieved: true },
  },
  "timeline-reused": {
    what: "two servers that are promoted apart from each other take the same timeline number",
    plants: { timelinesReused: true },
  },
  "guard-late": { what: "the guard acts 5 seconds after its deadline", plants: { guardLateMs: 5000 } },
  "foreign-lock-ignored": {
    what: "a primary does not stop when the lock is somebody else's",
    without: ["primary-foreign-lock", "primary-superseded", "primary-no-lock"],
  },
  "failsafe-promise-ignored": {
    what: "a member that agreed that the primary goes on without the DCS races for the lock all the same",
    without: ["race-failsafe-promised", "promote-failsafe-promised"],
  },
  "failsafe-silence-agrees": {
    what: "a member that does not answer the primary's heartbeat counts as one that agrees",
    plants: { silentMember: "accepted" },
  },
  "lag-ignored": { what: "a candidate does not look at maximum_lag_on_failover", without: ["race-lagging"] },
};

/** Null where there is no such plant. To be called once, before the first world: it changes the table of this process. */
export function plant(name: string | null): Plants | null {
  if (name === null) return NONE;
  const found = PLANTS[name];
  if (found === undefined) return null;
  for (const rule of RULES) if (found.without?.includes(rule.id) === true) Object.assign(rule, { when: () => false });
  return { ...NONE, ...found.plants };
}

/** The store as a buggy client would see it. */
export function plantStore(plants: Plants, store: Store, _self: string): Store {
  const asItIs = plants.unknownRead === "as it is" && !plants.markIgnored && !plants.everyoneSynchronous && !plants.unfencedIgnored;
  if (asItIs) return store;
  const changed = (answer: Result<Snapshot, StoreError>): Result<Snapshot, StoreError> =>
    answer.ok ? ok(changeSnapshot(plants, answer.value)) : answer;
  return new Proxy(store, {
    get(target, property) {
      if (property === "snapshot" || property === "watch")
        return async (...parameters: [string, never, never]) => changed(await target[property](...parameters));
      if (property === "transaction" && plants.unknownRead === "as done")
        return async (changes: readonly Change[], options: RequestOptions): Promise<Result<readonly Revision[], StoreError>> => {
          const answer = await target.transaction(changes, options);
          return !answer.ok && isUnknown(answer.error) ? ok(changes.map(() => revision(0))) : answer;
        };
      if (property === "renewSession" && plants.unknownRead === "as done")
        return async (id: string, options: RequestOptions) => {
          const answer = await target.renewSession(id, options);
          return !answer.ok && isUnknown(answer.error) ? ok({ id, promisedMs: ms(30_000), place: null }) : answer;
        };
      const value: unknown = Reflect.get(target, property);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** No answer in time, or no time left for one. */
function isUnknown(error: StoreError): boolean {
  return error.kind === "unknown-outcome" || error.kind === "unavailable";
}

const changedSnapshots = new WeakMap<Snapshot, Snapshot>();

function changeSnapshot(plants: Plants, snapshot: Snapshot): Snapshot {
  const known = changedSnapshots.get(snapshot);
  if (known !== undefined) return known;
  const members = snapshot.entries.filter(({ key }) => key.includes("/members/")).map(({ key }) => key.slice(key.lastIndexOf("/") + 1));
  const entries = snapshot.entries.map((entry) => {
    if (plants.unfencedIgnored && entry.key.endsWith(".lease")) {
      const { unfenced: _unfenced, ...mark } = JSON.parse(entry.value) as Record<string, unknown>;
      return { ...entry, value: JSON.stringify(mark) };
    }
    if (plants.markIgnored && entry.key.endsWith(".lease"))
      return {
        ...entry,
        value: entry.value.replace('"released": false', '"released": true').replace('"released":false', '"released":true'),
      };
    if (plants.everyoneSynchronous && entry.key.endsWith("/sync")) {
      const sync = JSON.parse(entry.value) as { readonly leader: string };
      return {
        ...entry,
        value: JSON.stringify({ ...sync, sync_standby: members.filter((name) => name !== sync.leader).join(",") || null }),
      };
    }
    return entry;
  });
  const result = { ...snapshot, entries };
  changedSnapshots.set(snapshot, result);
  return result;
}
