// Owns the tests of clients on the members' port, over the fake network.

import { describe, expect, test } from "bun:test";
import { ClientDialer, type ClientLink } from "../../../../../lib/dcs/raft/transport/client-link.ts";
import { BODY_MAX_BYTES } from "../../../../../lib/dcs/raft/transport/frame.ts";
import { CLIENTS_MAX, HANDSHAKES_MAX } from "../../../../../lib/dcs/raft/transport/reception.ts";
import { type ClientRequestFrame, REQUESTS_MAX } from "../../../../../lib/dcs/raft/transport/transport.ts";
import { type Ms, ms } from "../../../../../lib/model/units.ts";
import { FakeNetwork } from "../../../../raft/fake-network.ts";
import { refusals, startMember, type TestMember } from "./member.ts";
import { VirtualTime } from "./virtual-time.ts";

interface Served {
  readonly time: VirtualTime;
  readonly network: FakeNetwork;
  readonly member: TestMember;
  readonly dialer: ClientDialer;
  /** Requests that nobody has answered yet. */
  readonly asked: { readonly request: ClientRequestFrame; readonly answer: (body: string) => void }[];
  in(durationMs: number): Ms;
  connect(): Promise<ClientLink>;
}

async function served(): Promise<Served> {
  const time = new VirtualTime();
  const network = new FakeNetwork({ schedule: time, random: () => 0.5 });
  const member = await startMember({ name: "a", network: network.start("a"), clock: time, bind: "a:5010" });
  const asked: Served["asked"] = [];
  member.transport.onClientRequest = (request, answer) => void asked.push({ request, answer });
  const random = (bytes: number) => new Uint8Array(bytes);
  const dialer = new ClientDialer({ network: network.start("client"), clock: time, random, security: { kind: "plain" }, silentMs: 2000 });
  const within = (durationMs: number): Ms => ms(time.now() + durationMs);
  const connect = async (): Promise<ClientLink> => {
    const connecting = dialer.connect("a:5010", within(100));
    await time.advance(50);
    const link = await connecting;
    if (!link.ok) throw new Error(link.error.message);
    return link.value;
  };
  return { time, network, member, dialer, asked, in: within, connect };
}

describe("a client", () => {
  test("gets each answer to its own request, in whatever order they come", async () => {
    const given = await served();
    const link = await given.connect();
    expect(link.hello.memberId).toBe(given.member.id);
    const answers = [link.request("one", given.in(1000)), link.request("two", given.in(1000))];
    await given.time.advance(5);
    expect(given.asked.map(({ request }) => request.body)).toEqual(["one", "two"]);
    for (const { request, answer } of given.asked.reverse()) answer(`${request.body} done`);
    await given.time.advance(5);
    expect(await Promise.all(answers)).toEqual([
      { ok: true, value: "one done" },
      { ok: true, value: "two done" },
    ]);
  });

  test("tells the member how long it waits, and does not wait longer", async () => {
    const given = await served();
    const link = await given.connect();
    const answer = link.request("slow", given.in(1000));
    await given.time.advance(5);
    const asked = given.asked[0];
    expect(asked?.request.deadline).toBeGreaterThan(given.time.now() + 990);
    expect(asked?.request.deadline).toBeLessThan(given.time.now() + 1000);
    await given.time.advance(1000);
    expect(await answer).toEqual({ ok: false, error: { kind: "unknown", reason: "it did not answer in time" } });
    asked?.answer("too late");
    await given.time.advance(5);
    expect(link.open).toBe(true);
    expect(() => asked?.answer("again")).toThrow("answered twice");
  });

  test("knows that an unanswered request may have happened when the member is killed, and that a later one was not sent", async () => {
    const given = await served();
    const link = await given.connect();
    const closed: string[] = [];
    link.onClosed = (reason) => void closed.push(reason);
    const answer = link.request("one", given.in(1000));
    await given.time.advance(5);
    given.network.crash("a");
    await given.time.advance(5);
    expect(await answer).toEqual({ ok: false, error: { kind: "unknown", reason: "it closed" } });
    expect(closed).toEqual(["it closed"]);
    expect(await link.request("two", given.in(1000))).toEqual({
      ok: false,
      error: { kind: "not-sent", reason: "the connection is closed" },
    });
  });

  test("that is idle stays connected, and notices a member that went silent", async () => {
    const given = await served();
    const link = await given.connect();
    await given.time.advance(60_000);
    expect(link.open).toBe(true);
    given.network.powerOff("a");
    await given.time.advance(3000);
    expect(link.open).toBe(false);
  });

  test("that is gone lets its watches end", async () => {
    const given = await served();
    const link = await given.connect();
    void link.request("watch", given.in(60_000));
    await given.time.advance(5);
    const asked = given.asked[0];
    expect(asked?.request.gone.aborted).toBe(false);
    link.close();
    await given.time.advance(5);
    expect(asked?.request.gone.aborted).toBe(true);
    asked?.answer("nobody reads it");
    expect(refusals(given.member.log)).toEqual([]);
  });

  test("may have a bounded number of requests waiting", async () => {
    const given = await served();
    const link = await given.connect();
    for (let number = 0; number < REQUESTS_MAX; number++) void link.request(`${number}`, given.in(60_000));
    expect(await link.request("more", given.in(60_000))).toMatchObject({ ok: false, error: { kind: "not-sent" } });
    await given.time.advance(5);
    expect(given.asked).toHaveLength(REQUESTS_MAX);
    for (const { answer } of given.asked.splice(0)) answer("done");
    await given.time.advance(5);
    void link.request("more", given.in(60_000));
    await given.time.advance(5);
    expect(given.asked.map(({ request }) => request.body)).toEqual(["more"]);
  });

  test("cannot send what is too long, nor what has no time left", async () => {
    const given = await served();
    const link = await given.connect();
    expect(await link.request("x".repeat(BODY_MAX_BYTES + 1), given.in(1000))).toMatchObject({ ok: false, error: { kind: "not-sent" } });
    expect(await link.request("late", given.time.now())).toMatchObject({ ok: false, error: { kind: "not-sent" } });
    const largest = link.request("x".repeat(BODY_MAX_BYTES), given.in(1000));
    await given.time.advance(5);
    expect(given.asked[0]?.request.body).toHaveLength(BODY_MAX_BYTES);
    given.asked[0]?.answer("done");
    await given.time.advance(5);
    expect(await largest).toEqual({ ok: true, value: "done" });
  });

  test("beyond the bound is told so, and those who are there are not disturbed", async () => {
    const given = await served();
    const first = await given.connect();
    for (let number = 1; number < CLIENTS_MAX; number += HANDSHAKES_MAX) {
      const group = Array.from({ length: Math.min(HANDSHAKES_MAX, CLIENTS_MAX - number) }, () =>
        given.dialer.connect("a:5010", given.in(100)),
      );
      await given.time.advance(10);
      expect((await Promise.all(group)).filter(({ ok }) => !ok)).toEqual([]);
    }
    const refused = given.dialer.connect("a:5010", given.in(100));
    await given.time.advance(50);
    expect(await refused).toEqual({ ok: false, error: { kind: "rejected", message: "it has too many connections" } });
    expect(refusals(given.member.log)).toHaveLength(1);
    const answer = first.request("still there", given.in(1000));
    await given.time.advance(5);
    given.asked[0]?.answer("yes");
    await given.time.advance(5);
    expect(await answer).toEqual({ ok: true, value: "yes" });
  });
});
