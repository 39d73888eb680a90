// Goal: in pause PostgreSQL is left as it is, and the lock follows it. Method: one observation a case.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { revision } from "../../../lib/model/units.ts";
import { CONFIG, cluster, leading, local, member, status } from "./observations.ts";

const config = { ...CONFIG, pause: true };
const standby = local({ status: status(), lastRole: "replica" });

/** Node b holds the lock. */
function holding(fields: Partial<Observation>, candidate: string | null = null): Observation {
  const failover =
    candidate === null ? null : { leader: null, candidate, scheduledAt: null, scheduledAtText: null, revision: revision(11) };
  return leading({
    config,
    cluster: cluster({
      leader: { name: "b", session: "s-b", revision: revision(4) },
      members: [member("a"), member("b", { role: "primary" }), member("c")],
      failover,
    }),
    ...fields,
  });
}

describe("the holder in pause", () => {
  test("keeps the lock while PostgreSQL runs as primary", () => {
    expect(decide(holding({})).effect.kind).toBe("wait");
  });

  test("releases it where PostgreSQL is down, once, and starts nothing", () => {
    const down = { local: local({ process: { kind: "none" }, status: null, lastRole: "primary" }) };
    expect(decide(holding(down)).rule).toBe("holder-paused-release");
    const tried = { ...down, done: [{ kind: "release-lock" as const, ok: false, message: "away" }] };
    expect(decide(holding(tried)).effect.kind).toBe("wait");
  });

  test("releases it where somebody made PostgreSQL a standby, and promotes where an operator's request names this node", () => {
    expect(decide(holding({ local: standby })).rule).toBe("holder-paused-release");
    expect(decide(holding({ local: standby }, "c")).rule).toBe("holder-paused-release");
    expect(decide(holding({ local: standby }, "b")).effect.kind).toBe("promote");
  });
});
