// Goal: a question to the leader ends with its answer, or with the truth about why there is none. Method: the forwarder with a
// recorder for a link.

import { describe, expect, test } from "bun:test";
import { Deadlines } from "../../../../../lib/dcs/raft/deadlines.ts";
import { type Forwarded, Forwarder, readForwarded, writeForwardedAnswer } from "../../../../../lib/dcs/raft/member/forwarder.ts";
import type { PeerFrame } from "../../../../../lib/dcs/raft/transport/frame.ts";
import { logIndex, type MemberId } from "../../../../../lib/model/raft.ts";
import { ms } from "../../../../../lib/model/units.ts";
import { steadyClock } from "../../../../conformance/steady-clock.ts";

const clock = steadyClock();
const LEADER = "a".repeat(32) as MemberId;
const OTHER = "b".repeat(32) as MemberId;
const REQUEST: Forwarded = {
  kind: "request",
  request: { kind: "command", envelope: { client: "c", sequence: 1, acknowledged: 0, command: { kind: "renew-session", id: "s\n1" } } },
  withinMs: 12.25,
};

function forwarder() {
  const sent: { readonly to: MemberId; readonly frame: Extract<PeerFrame, { kind: "forward" }> }[] = [];
  const answers: PeerFrame[] = [];
  const made = new Forwarder({
    send: (to, frame) => {
      if (frame.kind === "forward") sent.push({ to, frame });
      else answers.push(frame);
    },
    deadlines: new Deadlines(clock),
  });
  made.up(LEADER);
  return {
    made,
    sent,
    answers,
    ask: (question: Forwarded = REQUEST, budgetMs = 5000) => made.ask(LEADER, question, ms(clock.now() + budgetMs)),
  };
}

describe("the forwarder", () => {
  test("what is asked is read as it was written, and so are the answers", async () => {
    const { made, sent, ask } = forwarder();
    const first = ask();
    const second = ask({ kind: "read-index" });
    expect(sent.map(({ frame }) => readForwarded(frame.body))).toEqual([REQUEST, { kind: "read-index" }]);
    const done = { kind: "request", answer: { kind: "done" } } as const;
    made.answered(LEADER, sent[1]?.frame.id ?? -1, writeForwardedAnswer({ kind: "read-index", index: logIndex(7) }));
    made.answered(LEADER, sent[0]?.frame.id ?? -1, writeForwardedAnswer(done));
    expect(await Promise.all([first, second])).toEqual([
      { ok: true, value: done },
      { ok: true, value: { kind: "read-index", index: logIndex(7) } },
    ]);
  });

  test("without a connection nothing is sent; a lost one, a new leader and a deadline leave the outcome unknown", async () => {
    const { made, sent, ask } = forwarder();
    expect(await made.ask(OTHER, REQUEST, ms(clock.now() + 1000))).toMatchObject({ ok: false, error: { kind: "not-sent" } });
    expect(sent).toEqual([]);
    const lost = ask();
    made.lost(LEADER, "back");
    expect(await lost).toMatchObject({ ok: false, error: { kind: "unknown" } });
    const changed = ask();
    made.leaderChanged(LEADER);
    made.leaderChanged(OTHER);
    expect(await changed).toMatchObject({ ok: false, error: { kind: "unknown", reason: "the leader has changed" } });
    expect(await ask(REQUEST, 15)).toMatchObject({ ok: false, error: { kind: "unknown" } });
    made.lost(LEADER, "gone");
    expect(await ask()).toMatchObject({ ok: false, error: { kind: "not-sent" } });
  });

  test("an answer of somebody else, to nothing, or that makes no sense applies to nobody", async () => {
    const { made, sent, ask } = forwarder();
    const asked = ask();
    const id = sent[0]?.frame.id ?? -1;
    made.answered(OTHER, id, writeForwardedAnswer({ kind: "not-leader" }));
    made.answered(LEADER, id + 1, writeForwardedAnswer({ kind: "not-leader" }));
    made.answered(LEADER, id, "answer 0\n{]");
    expect(await asked).toMatchObject({ ok: false, error: { kind: "unknown", reason: "the leader's answer makes no sense" } });
  });

  test("an answer leaves over the connection that its question came over, or not at all", () => {
    const { made, answers } = forwarder();
    const answered = made.answerer(LEADER, 1);
    answered({ kind: "not-leader" });
    const restarted = made.answerer(LEADER, 2);
    made.lost(LEADER, "back");
    restarted({ kind: "not-leader" });
    const away = made.answerer(LEADER, 3);
    made.lost(LEADER, "gone");
    made.up(LEADER);
    away({ kind: "not-leader" });
    made.answerer(LEADER, 1)({ kind: "read-index", index: logIndex(4) });
    expect(answers).toEqual([
      { kind: "forward-answer", id: 1, body: writeForwardedAnswer({ kind: "not-leader" }) },
      { kind: "forward-answer", id: 1, body: writeForwardedAnswer({ kind: "read-index", index: logIndex(4) }) },
    ]);
  });

  test("what is no question is none", () => {
    for (const text of ["", "request", "request x\n{}", "request 1\n{}", "request 1\nnot json", "answer 1\n{}", "index 1\n"]) {
      expect(readForwarded(text)).toBeNull();
    }
  });
});
