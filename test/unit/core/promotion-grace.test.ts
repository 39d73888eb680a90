// Goal: right after a promotion in synchronous mode the names that it was made with stay, strict or not: a commit that waits
// for another name would not be released by the first standby that streams. Method: one observation a case.

import { expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { CONFIG, cluster, leading, local, member, primaryStatus } from "./observations.ts";

function promotedAgo(agoMs: number, strict: boolean): Observation {
  return leading({
    config: { ...CONFIG, synchronousMode: "on", synchronousModeStrict: strict },
    cluster: cluster({
      leader: { name: "b", session: "s-b", revision: revision(4) },
      members: [member("a"), member("b", { role: "primary" }), member("c")],
      sync: { revision: revision(9), leader: "b", standbys: [], quorum: 0 },
    }),
    local: local({
      status: primaryStatus({ synchronousStandbyNames: "1 (a,c)" }),
      lastRole: "primary",
      upstream: "",
      promotedAt: ms(100_000 - agoMs),
      syncNamesManaged: true,
    }),
  });
}

test("while nobody streams yet the names stay", () => {
  for (const strict of [false, true]) expect(decide(promotedAgo(500, strict)).rule).toBe("leader-grace");
});

test("where nobody came, strict waits on for whoever may come, and otherwise commits go on alone", () => {
  const placeholder = "__patroni_strict_sync_replica_placeholder__";
  expect(decide(promotedAgo(3_000, true)).effect).toEqual({ kind: "set-sync-names", value: placeholder });
  expect(decide(promotedAgo(3_000, false)).effect).toEqual({ kind: "set-sync-names", value: "" });
});
