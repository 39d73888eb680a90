// Goal: a node that stops knows when its store cannot answer any more, and never believes so of one that can.

import { describe, expect, test } from "bun:test";
import type { MemberStatus, RaftStatus } from "../../../lib/dcs/raft/kv/client-protocol.ts";
import { RaftStore } from "../../../lib/dcs/raft/store.ts";
import { memberId } from "../../../lib/model/raft.ts";
import { ms } from "../../../lib/model/units.ts";
import { whyNoMajority } from "../../../lib/runtime/raft-member.ts";
import { steadyClock } from "../../conformance/steady-clock.ts";

function member(part: MemberStatus["part"], link: MemberStatus["link"], index: number): MemberStatus {
  const id = memberId(String(index).repeat(32));
  if (id === null) throw new Error("no id");
  return { id, address: `10.0.0.${index}:5010`, part, link, matched: null, silentMs: null };
}

function serving(...links: readonly MemberStatus["link"][]): Pick<RaftStatus, "state" | "detail" | "members"> {
  return { state: "serving", detail: null, members: links.map((link, index) => member("voter", link, index)) };
}

describe("why a member sees no majority", () => {
  test("counts the voters that are connected, itself among them", () => {
    expect(whyNoMajority(serving(null))).toBeNull();
    expect(whyNoMajority(serving(null, "up", "down"))).toBeNull();
    expect(whyNoMajority(serving(null, "down", "down"))).toBe("only 1 of 3 members are there, and 2 have to be");
    expect(whyNoMajority(serving(null, "down"))).toBe("only 1 of 2 members are there, and 2 have to be");
    expect(whyNoMajority(serving(null, "up", "down", "down"))).toBe("only 2 of 4 members are there, and 3 have to be");
  });

  test("does not count who has no vote", () => {
    const status = serving(null, "down", "down");
    expect(whyNoMajority({ ...status, members: [...status.members, member("learner", "up", 8)] })).toContain("only 1 of 3");
  });

  test("is nothing where the member does not say, and that it belongs nowhere where it waits", () => {
    expect(whyNoMajority(null)).toBeNull();
    expect(whyNoMajority({ state: "waiting", detail: "waiting for 10.0.0.2:5010", members: [] })).toContain("waiting for 10.0.0.2:5010");
  });
});

test("reads and watches of a lost store end at once, and say why", async () => {
  const clock = steadyClock();
  const lost = new AbortController();
  const channel = { request: () => new Promise<never>(() => {}) };
  // As a member in a thread does it: a request whose signal aborts is answered.
  const heeding = {
    request: (_: unknown, __: unknown, gone: AbortSignal | null = null) =>
      Promise.race([
        channel.request(),
        new Promise<{ kind: "unavailable"; reason: string }>((resolve) =>
          gone?.addEventListener("abort", () => resolve({ kind: "unavailable", reason: "gone" })),
        ),
      ]),
  };
  const store = new RaftStore({ channel: heeding, clock, random: (bytes) => new Uint8Array(bytes), lost: lost.signal });
  const deadline = ms(clock.now() + 60_000);
  const asked = [store.snapshot("a", { deadline }), store.watch("a", 1 as never, { deadline }), store.put("a", "b", { deadline })];
  await clock.sleepUntil(ms(clock.now() + 20));
  lost.abort("only 1 of 3");
  const answers = await Promise.all(asked);
  for (const answer of answers.slice(0, 2)) expect(answer).toEqual({ ok: false, error: { kind: "unavailable", reason: "only 1 of 3" } });
  expect(answers[2]).toMatchObject({ ok: false });
  expect(await store.snapshot("a", { deadline })).toEqual({ ok: false, error: { kind: "unavailable", reason: "only 1 of 3" } });
});
