// Goal: a command is repeated under its number until it is answered, and what is said at the end is true. Method: a channel that
// answers by script and keeps what it was asked.

import { describe, expect, test } from "bun:test";
import type { RaftChannel } from "../../../../../lib/dcs/raft/client/channel.ts";
import { RaftCommands } from "../../../../../lib/dcs/raft/client/commands.ts";
import type { ClientAnswer, ClientRequest } from "../../../../../lib/dcs/raft/kv/client-protocol.ts";
import type { Command, Envelope } from "../../../../../lib/dcs/raft/kv/command.ts";
import { ok } from "../../../../../lib/model/result.ts";
import { ms } from "../../../../../lib/model/units.ts";
import { steadyClock } from "../../../../conformance/steady-clock.ts";
import { ownMs } from "../../../../harness/stall.ts";

const clock = steadyClock();
const PUT: Command = { kind: "change", changes: [{ kind: "put", key: "k", value: "v" }] };
const DONE: ClientAnswer = { kind: "command", answer: ok({ kind: "done" }) };
const LOST: ClientAnswer = { kind: "unknown-outcome", reason: "lost" };
const AWAY: ClientAnswer = { kind: "not-leader", leader: null };
const FORGOTTEN: ClientAnswer = { kind: "command", answer: { ok: false, error: { kind: "unknown-client" } } };

/** Answers each command with the next of the list, the last one for ever; registrations are granted as client-1, client-2… */
type Answer = ClientAnswer | ((envelope: Envelope) => Promise<ClientAnswer>);
function scripted(...words: readonly (Answer | { readonly lost: AbortSignal })[]) {
  const answers = words.filter((word): word is Answer => !("lost" in word));
  const lost = words.flatMap((word) => ("lost" in word ? [word] : []))[0] ?? {};
  const asked: Envelope[] = [];
  let registrations = 0;
  const channel: RaftChannel = {
    request: async (request: ClientRequest) => {
      if (request.kind !== "command") throw new Error("only commands are sent");
      if (request.envelope.command.kind === "open-client") {
        return { kind: "command", answer: ok({ kind: "client", id: `client-${++registrations}` }) };
      }
      const answer = answers[Math.min(asked.length, answers.length - 1)] as Answer;
      asked.push(request.envelope);
      return typeof answer === "function" ? answer(request.envelope) : answer;
    },
  };
  const commands = new RaftCommands({ channel, clock, random: (bytes) => new Uint8Array(bytes).fill(7), ...lost });
  return { asked, run: (budgetMs = 5000) => commands.run(PUT, ms(clock.now() + budgetMs)) };
}

describe("a command", () => {
  test("is repeated under the same client and sequence until an answer comes", async () => {
    const { asked, run } = scripted(LOST, AWAY, { kind: "unavailable", reason: "busy" }, DONE);
    expect(await run()).toEqual(ok({ kind: "done" }));
    expect(asked.map(({ client, sequence }) => `${client} ${sequence}`)).toEqual(Array(4).fill("client-1 1"));
  });

  test("that no attempt can have applied is unavailable at its deadline; with one doubt its outcome is unknown", async () => {
    expect(await scripted(AWAY).run(60)).toMatchObject({ ok: false, error: { kind: "unavailable" } });
    expect(await scripted(LOST, AWAY).run(60)).toMatchObject({ ok: false, error: { kind: "unknown-outcome", reason: "lost" } });
  });

  test("of a registration that is gone is sent anew under another, unless it may have been applied", async () => {
    const anew = scripted(FORGOTTEN, DONE);
    expect(await anew.run()).toEqual(ok({ kind: "done" }));
    expect(anew.asked.map(({ client, sequence }) => `${client} ${sequence}`)).toEqual(["client-1 1", "client-2 1"]);
    const doubtful = scripted(LOST, FORGOTTEN, DONE);
    expect(await doubtful.run()).toMatchObject({ ok: false, error: { kind: "unknown-outcome" } });
    expect(doubtful.asked).toHaveLength(2);
  });

  test("that is refused is rejected, and the machine's own errors are handed on", async () => {
    expect(await scripted({ kind: "refused", reason: "no" }).run()).toEqual({ ok: false, error: { kind: "rejected", reason: "no" } });
    const failed: ClientAnswer = { kind: "command", answer: { ok: false, error: { kind: "condition-failed" } } };
    expect(await scripted(failed).run()).toEqual({ ok: false, error: { kind: "condition-failed" } });
  });

  test("acknowledges no more than what all before it have been answered", async () => {
    let release: (answer: ClientAnswer) => void = () => {};
    const first = new Promise<ClientAnswer>((resolve) => {
      release = resolve;
    });
    const { asked, run } = scripted(() => first, DONE);
    const slow = run();
    await run();
    await run();
    expect(asked.map(({ sequence, acknowledged }) => [sequence, acknowledged])).toEqual([
      [1, 0],
      [2, 0],
      [3, 0],
    ]);
    release(DONE);
    await slow;
    await run();
    expect(asked.at(-1)).toMatchObject({ sequence: 4, acknowledged: 3 });
  });

  test("is given up with the loss of its store: in doubt where an attempt was under way, else certainly not applied; nothing follows", async () => {
    const answers: readonly (readonly [string, ClientAnswer | (() => Promise<ClientAnswer>)])[] = [
      ["unknown-outcome", () => new Promise<ClientAnswer>(() => {})],
      ["unavailable", AWAY],
    ];
    for (const [kind, answer] of answers) {
      const lost = new AbortController();
      const { asked, run } = scripted({ lost: lost.signal }, answer);
      const outcome = run(60_000);
      await clock.sleepUntil(ms(clock.now() + 20));
      lost.abort("nobody is there");
      const begun = performance.now();
      expect(await outcome).toMatchObject({ ok: false, error: { kind } });
      expect(ownMs(begun)).toBeLessThan(1_000);
      const before = asked.length;
      expect(await run(60_000)).toMatchObject({ ok: false, error: { kind: "unavailable" } });
      expect(asked).toHaveLength(before);
    }
  });

  test("waits its turn where too many are under way, and none is lost", async () => {
    let running = 0;
    let most = 0;
    const { asked, run } = scripted(async () => {
      running++;
      most = Math.max(most, running);
      await clock.sleepUntil(ms(clock.now() + 1));
      running--;
      return DONE;
    });
    const results = await Promise.all(Array.from({ length: 1500 }, () => run(20_000)));
    expect(results.every((result) => result.ok)).toBe(true);
    expect(asked).toHaveLength(1500);
    expect(most).toBeLessThanOrEqual(512);
  });
});
