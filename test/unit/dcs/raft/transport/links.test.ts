// Owns the tests of links between members over the fake network: who is connected when, and what each is told.

import { describe, expect, test } from "bun:test";
import { FakeNetwork } from "../../../../raft/fake-network.ts";
import { founding, type MemberOptions, refusals, startMember, type TestMember } from "./member.ts";
import { VirtualTime } from "./virtual-time.ts";

interface World {
  readonly time: VirtualTime;
  readonly network: FakeNetwork;
  start(name: string, options?: Partial<MemberOptions>): Promise<TestMember>;
}

function world(arrival: "whole" | "chopped" = "whole", delayMs?: () => number): World {
  const time = new VirtualTime();
  let seed = 1;
  const random = (): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const bytes = (count: number): Uint8Array => Uint8Array.from({ length: count }, () => Math.floor(random() * 256));
  const network = new FakeNetwork({ schedule: time, random, arrival, ...(delayMs === undefined ? {} : { delayMs }) });
  return {
    time,
    network,
    start: (name, options) =>
      startMember({ name, network: network.start(name), clock: time, bind: `${name}:5010`, random: bytes, ...options }),
  };
}

/** Two members that want each other, connected. */
async function pair(given: World): Promise<readonly [TestMember, TestMember]> {
  const members = [await given.start("a"), await given.start("b")] as const;
  for (const { transport } of members) transport.setPeers(members.map(({ member }) => member));
  await given.time.advance(50);
  return members;
}

/** Each says something to the other, and it arrives. */
async function talk(given: World, a: TestMember, b: TestMember, text: string): Promise<void> {
  a.transport.send(b.id, founding(text));
  b.transport.send(a.id, founding(text));
  await given.time.advance(20);
  expect(a.events.at(-1)).toBe(`${b.id[0]}: ${text}`);
  expect(b.events.at(-1)).toBe(`${a.id[0]}: ${text}`);
}

describe("links over the fake network", () => {
  test("members that dial each other at once are up once each, and stay so when one connection is given back", async () => {
    const given = world("whole", () => 1);
    const [a, b] = await pair(given);
    await talk(given, a, b, "one");
    await given.time.advance(5000);
    await talk(given, a, b, "two");
    expect(a.events).toEqual(["up b", "b: one", "b: two"]);
    expect(b.events).toEqual(["up a", "a: one", "a: two"]);
  });

  test.each([-8, -3, 0, 3, 8])("no frame is lost while a connection is given back: b dials %d ms after a", async (later) => {
    const given = world("whole", () => 5);
    const [a, b] = [await given.start("a"), await given.start("b")];
    for (const { transport } of later < 0 ? [b, a] : [a, b]) {
      transport.setPeers([a.member, b.member]);
      await given.time.advance(Math.abs(later));
    }
    await given.time.advance(50);
    const said: string[] = [];
    for (let sent = 0; sent < 2000; sent++) {
      a.transport.send(b.id, founding(String(sent)));
      b.transport.send(a.id, founding(String(sent)));
      said.push(String(sent));
      await given.time.advance(1);
    }
    await given.time.advance(50);
    const heard = ({ events }: TestMember) => events.filter((event) => event.includes(": ")).map((event) => event.slice(3));
    expect(heard(a)).toEqual(said);
    expect(heard(b)).toEqual(said);
  });

  test("frames arrive whole and in order, however the bytes arrive", async () => {
    const given = world("chopped");
    const [a, b] = await pair(given);
    for (let number = 0; number < 50; number++) {
      a.transport.send(b.id, founding(`${number}`));
      if (number % 7 === 0) await given.time.advance(1);
    }
    await given.time.advance(100);
    expect(b.events).toEqual(["up a", ...Array.from({ length: 50 }, (_, number) => `a: ${number}`)]);
  });

  test("a frame sent the moment a peer is up arrives, although it travels with the HELLO", async () => {
    const given = world();
    const [a, b] = [await given.start("a"), await given.start("b")];
    b.transport.onPeerUp = () => b.transport.send(a.id, founding("hello"));
    a.transport.setPeers([b.member]);
    await given.time.advance(20);
    expect(a.events).toEqual(["up b", "b: hello"]);
  });

  test("a crash is told at once; the restarted member is connected at once, for it dials as well", async () => {
    const given = world();
    const [a] = await pair(given);
    given.network.crash("b");
    await given.time.advance(2);
    expect(a.events).toEqual(["up b", "lost b gone"]);
    await given.time.advance(10_000);
    expect(a.events).toEqual(["up b", "lost b gone"]);
    const again = await given.start("b");
    again.transport.setPeers([a.member]);
    await given.time.advance(10);
    await talk(given, a, again, "back");
    expect(a.events).toEqual(["up b", "lost b gone", "up b", "b: back"]);
  });

  test("who only listens again is found within the retry time", async () => {
    const given = world();
    const [a] = await pair(given);
    given.network.crash("b");
    await given.time.advance(20_000);
    await given.start("b");
    await given.time.advance(1010);
    expect(a.events.at(-1)).toBe("up b");
  });

  test("a peer that never was there is told as gone once, and its log line comes once", async () => {
    const given = world();
    const a = await given.start("a");
    await given.start("b").then(({ transport }) => transport.close());
    given.network.crash("b");
    a.transport.setPeers([{ id: "b".repeat(32) as TestMember["id"], address: "b:5010" }]);
    await given.time.advance(30_000);
    expect(a.events).toEqual(["lost b gone"]);
    expect(a.log.lines).toEqual([`WARNING: raft: no connection to member ${"b".repeat(32)} at b:5010: nobody listens there`]);
  });

  test("a stalled wire is noticed as silence, never as gone, and all is well soon after it heals", async () => {
    const given = world();
    const [a, b] = await pair(given);
    given.network.stall("a", "b");
    given.network.stall("b", "a");
    await given.time.advance(3500);
    expect(a.events).toEqual(["up b", "lost b silent"]);
    expect(b.events).toEqual(["up a", "lost a silent"]);
    await given.time.advance(60_000);
    given.network.healAll();
    await given.time.advance(2010);
    await talk(given, a, b, "healed");
    expect([...a.events, ...b.events].filter((event) => event.includes("gone"))).toEqual([]);
  });

  test("a wire that is stalled in one direction only is noticed by both", async () => {
    const given = world();
    const [a, b] = await pair(given);
    given.network.stall("a", "b");
    await given.time.advance(10_000);
    expect(a.events).toContain("lost b closed");
    expect(b.events).toContain("lost a silent");
    given.network.healAll();
    await given.time.advance(2010);
    await talk(given, a, b, "healed");
  });

  test("a member that is paused for a minute finds its links replaced, and nobody is confused", async () => {
    const given = world();
    const [a, b] = await pair(given);
    given.network.pause("b");
    await given.time.advance(1000);
    expect(a.events).toEqual(["up b"]);
    given.network.resume("b");
    await given.time.advance(5000);
    await talk(given, a, b, "again");
  });

  test("a host without power is silence until it starts again; then its run replaces the old one", async () => {
    const given = world();
    const [a] = await pair(given);
    given.network.powerOff("b");
    await given.time.advance(1000);
    expect(a.events).toEqual(["up b"]);
    const again = await given.start("b");
    again.transport.setPeers([a.member]);
    await given.time.advance(20);
    expect(a.events.slice(1).filter((event) => event.startsWith("lost"))).toHaveLength(1);
    await talk(given, a, again, "back");
  });

  test("a process that is back before its end was seen is told as another one", async () => {
    const ways = { delayMs: 0.5 };
    const given = world("whole", () => ways.delayMs);
    const [a] = await pair(given);
    ways.delayMs = 500;
    given.network.crash("b");
    ways.delayMs = 0.5;
    const again = await given.start("b");
    again.transport.setPeers([a.member]);
    await given.time.advance(20);
    expect(a.events).toEqual(["up b", "lost b restarted", "up b"]);
    await given.time.advance(1000);
    await talk(given, a, again, "back");
    expect(a.events).toEqual(["up b", "lost b restarted", "up b", "b: back"]);
  });

  test("reset connections come back at once", async () => {
    const given = world();
    const [a, b] = await pair(given);
    given.network.reset("a", "b");
    await given.time.advance(30);
    expect(a.events).toEqual(["up b", "lost b gone", "up b"]);
    await talk(given, a, b, "again");
  });

  test("a member of another cluster is refused with one line, and the own cluster is undisturbed", async () => {
    const given = world();
    const [a, b] = [await given.start("a", { clusterId: "1" }), await given.start("b", { clusterId: "1" })];
    const stranger = await given.start("c", { clusterId: "2" });
    a.transport.setPeers([b.member]);
    stranger.transport.setPeers([a.member]);
    await given.time.advance(40);
    expect(refusals(a.log)).toHaveLength(1);
    expect(refusals(a.log)[0]).toContain(`it belongs to another cluster (${"2".repeat(32)})`);
    expect(stranger.log.lines).toEqual([`WARNING: raft: no connection to member ${a.id} at a:5010: it belongs to another cluster`]);
    await talk(given, a, b, "fine");
    expect(a.events).toEqual(["up b", "b: fine"]);
  });

  test("one without a cluster may meet any; once it belongs to another, who does not is let go", async () => {
    const given = world();
    const [a, b] = [await given.start("a"), await given.start("b", { clusterId: "1" })];
    a.transport.setPeers([b.member]);
    await given.time.advance(20);
    expect(a.events).toEqual(["up b"]);
    a.identity.clusterId = "2".repeat(32) as TestMember["identity"]["clusterId"];
    a.transport.identityChanged();
    await given.time.advance(20);
    expect(a.events).toEqual(["up b", "lost b closed"]);
    expect(b.events).toEqual(["up a", "lost a closed"]);
  });

  test("another member at a peer's address is not taken for it", async () => {
    const given = world();
    const [a, b] = [await given.start("a"), await given.start("b")];
    a.transport.setPeers([{ id: "c".repeat(32) as TestMember["id"], address: b.member.address }]);
    await given.time.advance(1000);
    expect(a.events).toEqual([]);
    expect(a.log.lines).toEqual([
      `WARNING: raft: no connection to member ${"c".repeat(32)} at b:5010: another member (${b.id}) answers there`,
    ]);
  });

  test("a member that dials itself under another name is refused", async () => {
    const given = world();
    const a = await given.start("a");
    a.transport.setPeers([{ id: "c".repeat(32) as TestMember["id"], address: a.member.address }]);
    await given.time.advance(100);
    expect(a.events).toEqual([]);
    expect(a.log.lines.join()).toContain("it has this member's own identity");
  });

  test("a peer that moved is dialled at its new address", async () => {
    const given = world();
    const [a, b] = await pair(given);
    given.network.crash("b");
    await given.time.advance(100);
    const moved = await given.start("d", { name: "b" });
    a.transport.setPeers([{ id: b.id, address: moved.member.address }]);
    await given.time.advance(20);
    expect(a.events.at(-1)).toBe("up b");
  });

  test("after close nothing is told, and nothing is dialled", async () => {
    const given = world();
    const [a, b] = await pair(given);
    a.transport.close();
    await given.time.advance(20_000);
    expect(a.events).toEqual(["up b"]);
    expect(b.events).toEqual(["up a", "lost a gone"]);
    a.transport.setPeers([b.member]);
    await given.time.advance(5000);
    expect(a.events).toEqual(["up b"]);
  });
});

describe("questions", () => {
  test("whoever is asked says who it is, to anybody, and a link is not made by it", async () => {
    const given = world();
    const [a, b] = [await given.start("a", { clusterId: "1" }), await given.start("b", { clusterId: "2" })];
    b.identity.list = ["a:5010", "b:5010"];
    b.identity.state = "promised";
    const asked = a.transport.ask("b:5010", given.time.now());
    const answer = a.transport.ask("b:5010", (given.time.now() + 100) as ReturnType<VirtualTime["now"]>);
    await given.time.advance(200);
    expect(await answer).toMatchObject({
      ok: true,
      value: { memberId: b.id, clusterId: "2".repeat(32), list: b.identity.list, state: "promised" },
    });
    expect(await asked).toEqual({ ok: false, error: "it does not answer" });
    expect([...a.events, ...b.events]).toEqual([]);
    expect(refusals(b.log)).toEqual([]);
  });

  test("nobody there, an unknown name and silence are reasons", async () => {
    const given = world();
    const a = await given.start("a");
    await given.start("b");
    given.network.pause("b");
    const deadline = 500 as ReturnType<VirtualTime["now"]>;
    const answers = Promise.all([
      a.transport.ask("a:1", deadline),
      a.transport.ask("nowhere:1", deadline),
      a.transport.ask("b:5010", deadline),
    ]);
    await given.time.advance(600);
    expect(await answers).toEqual([
      { ok: false, error: "nobody listens there" },
      { ok: false, error: "it does not answer" },
      { ok: false, error: "it did not say HELLO in time" },
    ]);
  });
});
