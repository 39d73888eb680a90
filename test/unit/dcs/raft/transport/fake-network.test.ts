// Owns the tests of the fake network itself: a simulation is worth what its network is worth.

import { describe, expect, test } from "bun:test";
import type { Connection } from "../../../../../lib/dcs/raft/transport/network.ts";
import { ms } from "../../../../../lib/model/units.ts";
import { FakeNetwork } from "../../../../raft/fake-network.ts";
import { VirtualTime } from "./virtual-time.ts";

interface Wired {
  readonly time: VirtualTime;
  readonly network: FakeNetwork;
  /** `a`'s end and `b`'s end of one connection. */
  readonly ends: readonly [Connection, Connection];
  /** What each end saw, with its instant. */
  readonly trace: string[];
}

async function wired(seed = 1): Promise<Wired> {
  const time = new VirtualTime();
  let state = seed;
  const random = (): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  const network = new FakeNetwork({ schedule: time, random, arrival: "chopped" });
  const [a, b] = [network.start("a"), network.start("b")];
  const trace: string[] = [];
  const watch = (name: string, end: Connection): Connection => {
    end.onData = (bytes) => void trace.push(`${time.now().toFixed(3)} ${name} ${Buffer.from(bytes).toString()}`);
    end.onClose = (cause) => void trace.push(`${time.now().toFixed(3)} ${name} ${cause}`);
    return end;
  };
  const accepted: Connection[] = [];
  await b.listen("b:1", (end) => void accepted.push(watch("b", end)));
  const connecting = a.connect("b:1", ms(100));
  await time.advance(10);
  const dialled = await connecting;
  const [other] = accepted;
  if ("kind" in dialled || other === undefined) throw new Error("not connected");
  return { time, network, ends: [watch("a", dialled), other], trace };
}

const text = (given: Wired): string => given.trace.map((line) => line.split(" ")[2]).join("");
const say = (end: Connection, words: string): void => end.write(Buffer.from(words));

describe("the fake network", () => {
  test("brings bytes in order, in pieces, and the same seed brings the same trace", async () => {
    const traces = await Promise.all(
      [1, 1, 2].map(async (seed) => {
        const given = await wired(seed);
        for (const word of ["first ", "second ", "third"]) say(given.ends[0], word.trim());
        await given.time.advance(50);
        expect(text(given)).toBe("firstsecondthird");
        return given.trace.join("\n");
      }),
    );
    expect(traces[0]).toBe(traces[1] ?? "");
    expect(traces[0]).not.toBe(traces[2] ?? "");
  });

  test("a stall in one direction keeps the bytes until it heals; the other direction flows", async () => {
    const given = await wired();
    given.network.stall("a", "b");
    say(given.ends[0], "there");
    say(given.ends[1], "back");
    await given.time.advance(1000);
    expect(text(given)).toBe("back");
    expect(given.ends[0].queued).toBe(5);
    given.network.heal("a", "b");
    await given.time.advance(10);
    expect(text(given)).toBe("backthere");
    expect(given.ends[0].queued).toBe(0);
  });

  test("a buffer may be used again after it was written", async () => {
    const given = await wired();
    const buffer = Buffer.from("kept");
    given.ends[0].write(buffer);
    buffer.fill("x");
    await given.time.advance(10);
    expect(text(given)).toBe("kept");
  });

  test("a paused process sees everything when it goes on", async () => {
    const given = await wired();
    given.network.pause("b");
    say(given.ends[0], "later");
    await given.time.advance(1000);
    expect(given.trace).toEqual([]);
    given.network.resume("b");
    await given.time.advance(10);
    expect(text(given)).toBe("later");
  });

  test("a paused process hears of a reset when it goes on, and one that dials has its answer by then", async () => {
    const given = await wired();
    const connecting = given.network.start("c").connect("b:1", ms(200));
    await given.time.advance(1.5);
    given.network.pause("c");
    given.network.pause("a");
    await given.time.advance(10);
    given.network.reset("c", "b");
    given.network.reset("a", "b");
    expect(text(given)).toBe("resetreset");
    given.network.resume("a");
    expect(text(given)).toBe("resetresetreset");
    given.network.resume("c");
    await given.time.advance(1);
    expect(await connecting).not.toHaveProperty("kind");
  });

  test("what was on its way from a killed process arrives before its reset; nothing is called in the killed one", async () => {
    const given = await wired();
    say(given.ends[1], "last");
    say(given.ends[0], "lost");
    given.network.crash("b");
    await given.time.advance(10);
    expect(text(given)).toBe("lastreset");
  });

  test("without power nothing is said until the host is started again", async () => {
    const given = await wired();
    given.network.powerOff("b");
    say(given.ends[0], "lost");
    await given.time.advance(100_000);
    expect(given.trace).toEqual([]);
    given.network.start("b");
    await given.time.advance(10);
    expect(text(given)).toBe("reset");
  });

  test("a close from one side is told to both, once", async () => {
    const given = await wired();
    say(given.ends[0], "bye");
    given.ends[0].close();
    given.ends[0].close();
    await given.time.advance(10);
    expect(given.trace[0]).toEndWith("a local");
    expect(text(given)).toBe("localbyereset");
  });

  test("a queue that is too long closes the connection", async () => {
    const given = await wired();
    given.network.stall("a", "b");
    for (let megabyte = 0; megabyte < 65; megabyte++) given.ends[0].write(new Uint8Array(1024 * 1024));
    expect(text(given)).toBe("local");
  });

  test("connecting: nobody there is refused, a stalled way is a timeout, a process that runs is not started again", async () => {
    const given = await wired();
    const again = (): unknown => given.network.start("a");
    expect(again).toThrow("running already");
    given.network.crash("a");
    const a = given.network.start("a");
    const deadline = ms(given.time.now() + 100);
    given.network.stall("b", "a");
    const [refused, stalled] = [a.connect("a:9", deadline), a.connect("b:1", deadline)];
    await given.time.advance(200);
    expect(await refused).toMatchObject({ kind: "refused" });
    expect(await stalled).toMatchObject({ kind: "timeout" });
  });
});
