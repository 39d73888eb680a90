// Goal: a request to the members has its answer by its own deadline, whoever else waits. Method: the fake network, where nobody listens.

import { expect, test } from "bun:test";
import { RemoteMembers } from "../../../../../lib/dcs/raft/client/remote.ts";
import { type ClientAnswer, writeClientAnswer } from "../../../../../lib/dcs/raft/kv/client-protocol.ts";
import { ms } from "../../../../../lib/model/units.ts";
import { recordingLog } from "../../../../harness/recording-log.ts";
import { FakeNetwork } from "../../../../raft/fake-network.ts";
import { startMember } from "../transport/member.ts";
import { VirtualTime } from "../transport/virtual-time.ts";

/** Who asks the members at these addresses, whether they are there or not. */
function clientOf(network: FakeNetwork, time: VirtualTime, addresses: readonly string[] = ["a:5010"]): RemoteMembers {
  return new RemoteMembers({
    addresses,
    network: network.start("client"),
    clock: time,
    random: (bytes: number) => new Uint8Array(bytes),
    security: { kind: "plain" },
    silentMs: 2000,
    log: recordingLog(),
  });
}

test("a renewal does not wait for the connection as long as a watch that began to connect before it", async () => {
  const time = new VirtualTime();
  const members = clientOf(new FakeNetwork({ schedule: time, random: () => 0.5 }), time);
  const ended: string[] = [];
  const ask = async (name: string, withinMs: number): Promise<void> => {
    const answer = await members.request({ kind: "status" }, ms(time.now() + withinMs));
    ended.push(`${name} ${answer.kind} after ${time.now()}`);
  };
  const begun = time.now();
  const both = [ask("watch", 30_000), ask("renewal", 1_000)];
  await time.advance(1_000);
  expect(ended).toEqual([`renewal unavailable after ${begun + 1_000}`]);
  await time.advance(30_000);
  await Promise.all(both);
  expect(ended.length).toBe(2);
  members.close();
});

test("a watch that nobody waits for any more ends at once, also while no member can be reached; the attempt goes on for whoever else asks", async () => {
  const time = new VirtualTime();
  const network = new FakeNetwork({ schedule: time, random: () => 0.5 });
  const members = clientOf(network, time);
  const gone = new AbortController();
  const begun = time.now();
  const watch = members.request({ kind: "status" }, ms(begun + 30_000), gone.signal).then((answer) => ({ answer, at: time.now() }));
  const other = members.request({ kind: "status" }, ms(begun + 10_000));
  await time.advance(500);
  gone.abort();
  await time.advance(0);
  expect(await Promise.race([watch, other])).toEqual({
    answer: { kind: "unavailable", reason: "nobody waits for it" },
    at: ms(begun + 500),
  });
  const member = await startMember({ name: "a", network: network.start("a"), clock: time, bind: "a:5010" });
  member.transport.onClientRequest = (_request, answer) => answer(writeClientAnswer({ kind: "refused", reason: "served" }));
  await time.advance(5_000);
  expect(await other).toEqual({ kind: "refused", reason: "served" });
  members.close();
});

test.each(["before a connection is there", "beside one that is there"])(
  "a watch that nobody waits for any more ends at once, also %s",
  async (when) => {
    const time = new VirtualTime();
    const network = new FakeNetwork({ schedule: time, random: () => 0.5 });
    const member = await startMember({ name: "a", network: network.start("a"), clock: time, bind: "a:5010" });
    let asked = 0;
    member.transport.onClientRequest = (_request, answer) => {
      asked += 1;
      if (asked === 1) answer(writeClientAnswer({ kind: "refused", reason: "the first one" }));
    };
    const members = clientOf(network, time);
    if (when.startsWith("beside")) {
      const first = members.request({ kind: "status" }, ms(time.now() + 1000));
      await time.advance(100);
      await first;
    }
    const gone = new AbortController();
    const watch = members.request({ kind: "status" }, ms(time.now() + 30_000), gone.signal);
    gone.abort();
    await time.advance(1000);
    expect(await Promise.race([watch, Promise.resolve(null)])).toMatchObject({ kind: "unavailable", reason: "nobody waits for it" });
    members.close();
  },
);

test.each<ClientAnswer>([
  { kind: "unavailable", reason: "no leader confirmed the read in time" },
  { kind: "not-leader", leader: null },
])("what a member that is cut off cannot answer ($kind) is asked of another one next", async (fromCutOff) => {
  const time = new VirtualTime();
  const network = new FakeNetwork({ schedule: time, random: () => 0.5 });
  const asked: string[] = [];
  for (const name of ["a", "b"]) {
    const member = await startMember({ name, network: network.start(name), clock: time, bind: `${name}:5010` });
    member.transport.onClientRequest = (_request, answer) => {
      asked.push(name);
      answer(writeClientAnswer(name === "a" ? fromCutOff : { kind: "refused", reason: "b has answered" }));
    };
  }
  const members = clientOf(network, time, ["a:5010", "b:5010"]);
  for (const expected of ["a", "b", "b"]) {
    const answer = members.request({ kind: "status" }, ms(time.now() + 1000));
    await time.advance(100);
    await answer;
    expect(asked.at(-1)).toBe(expected);
  }
  members.close();
});
