// Goal: in pause PostgreSQL is left as it is, and the lock follows it. Method: one observation a case.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { lsn, ms, revision, timeline } from "../../../lib/model/units.ts";
import { CONFIG, cluster, leading, local, member, observation, status } from "./observations.ts";

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

const PRIMARY = { state: "in production", timeline: timeline(1) } as NonNullable<Observation["local"]["control"]>;

describe("a stopped server in pause that an operator wants restarted", () => {
  const requests = { shutdown: false, restart: true, reinitialize: null };
  const down = { process: { kind: "none" }, status: null, lastRole: "primary" } as const;
  const free = cluster({ leader: null });
  const at = (fields: Partial<Observation>): ReturnType<typeof decide> =>
    decide(observation({ config, requests, cluster: free, ...fields }));

  test("is left alone without the request", () => {
    const quiet = { ...requests, restart: false };
    expect(at({ requests: quiet, local: local({ ...down, control: PRIMARY }) }).rule).toBe("leaderless-paused-down");
  });

  test("the lock free, a former primary: takes the lock before it is started, and waits where it does not get it", () => {
    expect(at({ local: local(down) }).effect.kind).toBe("read-control");
    const known = { local: local({ ...down, control: PRIMARY }) };
    expect(at(known).effect.kind).toBe("acquire-lock");
    expect(at({ ...known, done: [{ kind: "acquire-lock", ok: false, message: "" }] }).rule).toBe("leaderless-paused-down");
  });

  test("the lock free, a former standby, or a primary that somebody was promoted after: starts as a standby", () => {
    const standby = { local: local({ ...down, control: { ...PRIMARY, state: "shut down in recovery" } }) };
    expect(at(standby).effect).toMatchObject({ kind: "start", role: "standby" });
    const history = [{ timeline: timeline(1), lsn: lsn(90n), reason: "", time: null, newLeader: null }];
    const superseded = { local: local({ ...down, control: PRIMARY }), cluster: cluster({ leader: null, history }) };
    expect(at(superseded).effect).toMatchObject({ kind: "start", role: "standby" });
  });

  test("where it cannot be told what it was, it waits and is not started as a standby", () => {
    const unread = [{ kind: "read-control" as const, ok: false, message: "" }];
    expect(at({ local: local(down), done: unread }).rule).toBe("leaderless-paused-down");
    expect(decide(holding({ requests, local: local(down), done: unread })).rule).toBe("holder-paused-down");
    expect(decide(holding({ requests, local: local(down) })).effect.kind).toBe("read-control");
  });

  test("somebody else leads: it comes back beside him", () => {
    const foreign = { cluster: cluster(), local: local({ ...down, control: PRIMARY }) };
    expect(at({ ...foreign, requests: { ...requests, restart: false } }).rule).toBe("paused-as-it-is");
    expect(at(foreign).rule).not.toBe("paused-as-it-is");
  });
});

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

  test("where PostgreSQL is down and an operator asks for a restart: keeps it and starts what was there", () => {
    const down = { local: local({ process: { kind: "none" }, status: null, lastRole: "primary", crashedAt: ms(10), control: PRIMARY }) };
    const requests = { shutdown: false, restart: true, reinitialize: null };
    const o = holding({ ...down, requests, config: { ...config, primaryStartTimeoutMs: ms(0) } });
    expect(decide(o).effect).toMatchObject({ kind: "start", role: "primary" });
  });

  test("releases it where somebody made PostgreSQL a standby, and promotes where an operator's request names this node", () => {
    expect(decide(holding({ local: standby })).rule).toBe("holder-paused-release");
    expect(decide(holding({ local: standby }, "c")).rule).toBe("holder-paused-release");
    expect(decide(holding({ local: standby }, "b")).effect.kind).toBe("promote");
  });
});
