import { describe, expect, test } from "bun:test";
import type { Observation } from "../../../lib/core/observation.ts";
import { foldTakeover, type Phase, type Takeover } from "../../../lib/core/takeover-phases.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { cluster, leading, local, observation, primaryStatus, released, unlocked } from "./observations.ts";

/** b sees the free lock at 99_990 (the former leader's last sign was at 99_980). */
const free = observation({ cluster: unlocked, trace: released, now: ms(100_000) });
const held = { session: "s-b", revision: revision(4), confirmedAt: ms(100_030), leaseEndsAt: ms(129_000) };
const locked = leading({ now: ms(100_050), local: local(), lock: { held }, trace: released });
const promoting = { ...locked, now: ms(100_200), local: local({ status: null, lastRole: "primary", promotedAt: ms(100_180) }) };
const writable = {
  ...promoting,
  now: ms(100_210),
  local: local({ status: primaryStatus(), lastRole: "primary", promotedAt: ms(100_180) }),
};

function fold(observations: readonly Observation[]): {
  readonly last: Takeover | null;
  readonly phases: readonly Phase[];
  readonly cause: string | undefined;
} {
  let takeover: Takeover | null = null;
  let cause: string | undefined;
  const phases: Phase[] = [];
  for (const one of observations) {
    const step = foldTakeover(takeover, one);
    takeover = step.takeover;
    cause = takeover?.cause ?? cause;
    phases.push(...step.ended);
  }
  return { last: takeover, phases, cause };
}

describe("the phases of a takeover", () => {
  test("are the time to see the free lock, to take it, to promote, and to be writable", () => {
    const { last, phases, cause } = fold([
      free,
      { ...free, now: ms(100_020) },
      locked,
      { ...locked, now: ms(100_100) },
      promoting,
      writable,
    ]);
    expect(phases).toEqual([
      { phase: "detected", took: ms(10) },
      { phase: "lock", took: ms(60) },
      { phase: "promoted", took: ms(130) },
      { phase: "writable", took: ms(30) },
    ]);
    expect(last).toBeNull();
    expect(cause).toBe("automatic");
  });

  test("are told by whoever gets the lock, not by the others that saw it free", () => {
    expect(
      fold([free, observation({ cluster: cluster({ leader: { name: "c", session: "s-c", revision: revision(12) } }) })]),
    ).toMatchObject({
      last: null,
      phases: [],
    });
  });

  test("end where the lock is lost on the way", () => {
    expect(fold([free, locked, { ...locked, lock: { held: null } }, writable]).phases.map(({ phase }) => phase)).toEqual([
      "detected",
      "lock",
    ]);
  });

  test("know what was asked for", () => {
    const request = { revision: revision(8), leader: null, candidate: "b", scheduledAt: null, scheduledAtText: null };
    const asked = (fields: Partial<typeof request> | { leader: string }) =>
      observation({ cluster: { ...unlocked, failover: { ...request, ...fields } }, trace: released });
    expect(fold([asked({})]).cause).toBe("manual");
    expect(fold([asked({ leader: "a" }), free]).cause).toBe("switchover");
    expect(fold([asked({ scheduledAt: 1_800_000_000_000 } as never)]).cause).toBe("automatic");
  });

  test("are none where a primary takes its own lock again, or a standby cluster has nothing to promote", () => {
    expect(fold([{ ...free, local: local({ status: primaryStatus(), lastRole: "primary" }) }, leading()]).phases).toEqual([]);
    const remote = { ...free, config: { ...free.config, standbyCluster: {} as never } };
    expect(fold([remote, { ...locked, config: remote.config }]).phases).toEqual([]);
  });

  test("leave the first one out where the former leader's last sign was not seen", () => {
    expect(fold([{ ...free, trace: { ...released, mark: null } }, locked]).phases[0]).toEqual({ phase: "detected", took: null });
  });
});
