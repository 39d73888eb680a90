// Goal: a member stops as removed only when a committed configuration is without it after another one had it. Method: the
// configurations of a newcomer's and a voter's life, committed and not.

import { describe, expect, test } from "bun:test";
import type { CoreStatus } from "../../../../../lib/dcs/raft/core/raft.ts";
import type { Configuration } from "../../../../../lib/dcs/raft/core/types.ts";
import { Belonging } from "../../../../../lib/dcs/raft/member/belonging.ts";
import type { MemberId } from "../../../../../lib/model/raft.ts";

const SELF = "a".repeat(32) as MemberId;
const OTHER = { id: "b".repeat(32) as MemberId, address: "b:1" };
const self = { id: SELF, address: "a:1" };
const without: Configuration = { voters: [OTHER], outgoing: null, learners: [] };
const learning: Configuration = { ...without, learners: [{ ...self, replaces: null }] };
const joint: Configuration = { voters: [OTHER], outgoing: [OTHER, self], learners: [] };
const voting: Configuration = { voters: [OTHER, self], outgoing: null, learners: [] };

const at = (configuration: Configuration, committed: boolean, role: CoreStatus["role"] = "follower") =>
  ({ configuration, configurationIndex: 5, commit: committed ? 5 : 4, role }) as CoreStatus;

describe("belonging", () => {
  test("a newcomer that meets configurations from before its time is not removed by them", () => {
    const belonging = new Belonging(SELF, [without]);
    expect(belonging.judge(at(without, true))).toBe("out");
    expect(belonging.judge(at(learning, true))).toBe("in");
    expect(belonging.wasVoter).toBe(false);
    expect(belonging.isSettled(learning)).toBe(true);
  });

  test("an admission that vanished with its leader is no removal", () => {
    const belonging = new Belonging(SELF, [without]);
    belonging.see(learning);
    expect(belonging.judge(at(learning, false))).toBe("in");
    expect(belonging.isSettled(learning)).toBe(false);
    expect(belonging.judge(at(without, true))).toBe("out");
    expect(belonging.wasVoter).toBe(false);
  });

  test("whoever was taken in is removed once the change is committed; a leader hands over before", () => {
    const belonging = new Belonging(SELF, [voting]);
    expect(belonging.judge(at(voting, true))).toBe("in");
    expect(belonging.judge(at(joint, true))).toBe("in");
    expect(belonging.judge(at(without, false))).toBe("out");
    expect(belonging.judge(at(without, true, "leader"))).toBe("out");
    expect(belonging.judge(at(without, true))).toBe("removed");
  });

  test("a voter of an earlier life of the process is known from its folder", () => {
    expect(new Belonging(SELF, [voting, without]).wasVoter).toBe(true);
    expect(new Belonging(SELF, [joint]).wasVoter).toBe(true);
    expect(new Belonging(SELF, [learning]).wasVoter).toBe(false);
  });
});
