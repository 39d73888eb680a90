// Goal: a cluster that is read as what changed since the last snapshot is the one that a reader of this snapshot alone has, and what
// did not change is the same object. Method: random snapshots after each other.

import { expect, test } from "bun:test";
import { ClusterDecoder } from "../../../lib/dcs/cluster-decoder.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import type { Entry, Snapshot } from "../../../lib/dcs/store.ts";
import { revision } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";

const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });

const VALUES: Readonly<Record<string, readonly string[]>> = {
  config: ['{"ttl":30}', '{"ttl":20}', "{"],
  failsafe: ['{"a":"http://a"}', "[]"],
  history: ["[]", '[[1,100,"no recovery target specified"]]'],
  initialize: ["7", "8"],
  leader: ["a", "b"],
  "members/a": ['{"state":"running","xlog_location":1}', '{"state":"running","xlog_location":2}', "broken"],
  "members/b": ['{"state":"running","role":"replica"}', '{"state":"stopped","pending_restart":true}', '{"xlog_location":"x"}'],
  "members/B": ['{"state":"running"}', "null"],
  "optime/leader": ["5", "6", "x"],
  status: ['{"optime":5}', '{"optime":6,"slots":{"b":5},"retain_slots":["b"]}', "{"],
  sync: ['{"leader":"a","sync_standby":"b"}', '{"leader":null,"sync_standby":null}'],
  somebody_elses: ["1", "2"],
};
const NAMES = Object.keys(VALUES).sort();

const change = fc.record({
  name: fc.constantFrom(...NAMES),
  to: fc.option(fc.nat({ max: 2 }), { nil: null, freq: 6 }),
});

test("what changed since the last snapshot, put into the former cluster, is what the whole snapshot says", () => {
  fc.assert(
    fc.property(fc.array(fc.array(change, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 20 }), (steps) => {
      const decoder = new ClusterDecoder(keys);
      const entries = new Map<string, Entry>();
      let at = 0;
      for (const name of NAMES) put(name, 0);
      read();
      for (const changes of steps) {
        for (const { name, to } of changes)
          if (to === null) entries.delete(name);
          else put(name, to);
        read();
      }

      function put(name: string, index: number): void {
        at += 1;
        const value = VALUES[name]?.[index] ?? "";
        entries.set(name, {
          key: `${keys.prefix}${name}`,
          value,
          revision: revision(at),
          session: name === "leader" ? `s-${value}` : null,
        });
      }
      function read(): void {
        const snapshot: Snapshot = {
          entries: NAMES.flatMap((name) => entries.get(name) ?? []),
          revision: revision(at),
        };
        expect(decoder.cluster(snapshot)).toEqual(new ClusterDecoder(keys).cluster(snapshot));
      }
    }),
    { numRuns: 300 },
  );
});

test("what did not change is the same object in the next cluster", () => {
  const decoder = new ClusterDecoder(keys);
  const entry = (name: string, value: string, at: number): Entry => ({
    key: `${keys.prefix}${name}`,
    value,
    revision: revision(at),
    session: null,
  });
  const a = entry("members/a", '{"state":"running"}', 1);
  const status = entry("status", '{"optime":5}', 2);
  const before = decoder.cluster({ entries: [a, entry("members/b", '{"state":"running"}', 3), status], revision: revision(3) });
  const after = decoder.cluster({ entries: [a, entry("members/b", '{"state":"stopped"}', 4), status], revision: revision(4) });
  expect(after.members.map(({ state }) => state)).toEqual(["running", "stopped"]);
  expect(before.members.map(({ state }) => state)).toEqual(["running", "running"]);
  expect(after.members[0]).toBe(before.members[0] as NonNullable<(typeof before.members)[0]>);
  expect(after.status).toBe(before.status);
});
