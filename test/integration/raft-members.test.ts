// Goal: Raft members over real sockets and folders found one cluster, take newcomers in, replace, remove, hand over, stop for
// good reasons with clear words, and come back. Method: members in this process (and one in a Worker), on loopback.

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalMember } from "../../lib/dcs/raft/client/local.ts";
import type { ClientAnswer, ClientRequest } from "../../lib/dcs/raft/kv/client-protocol.ts";
import { DEFAULT_RAFT_TIMINGS, raftMemberConfig } from "../../lib/dcs/raft/member/config.ts";
import { recoverAlone } from "../../lib/dcs/raft/recover.ts";
import { RaftStore } from "../../lib/dcs/raft/store.ts";
import { ms } from "../../lib/model/units.ts";
import { value } from "../conformance/suite-context.ts";
import { serverPorts } from "../harness/ports.ts";
import { RaftMembers, type RaftPlace } from "../harness/raft-members.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { ownMs } from "../harness/stall.ts";

const CASE_TIMEOUT_MS = 60_000;
const BUDGET_MS = 15_000;
let members: RaftMembers | null = null;

afterEach(async () => {
  await members?.close();
  members = null;
});

async function started(count: number, options: Parameters<typeof RaftMembers.start>[1] = {}): Promise<RaftMembers> {
  members = await RaftMembers.start(count, options);
  return members;
}

function within(running: RaftMembers, budgetMs = BUDGET_MS) {
  return { deadline: ms(running.clock.now() + budgetMs) };
}

function ask(running: RaftMembers, place: RaftPlace, request: ClientRequest): Promise<ClientAnswer> {
  return place.node.request(request, within(running).deadline);
}

function votersOf(place: RaftPlace): readonly string[] {
  return place.status.members.filter(({ part }) => part === "voter").map(({ address }) => address);
}

/** Every running member serves, with exactly these voters and nobody on the way. */
function settled(running: RaftMembers, addresses: readonly string[]): Promise<true> {
  const wanted = [...addresses].sort().join();
  return running.until(
    () =>
      running.places
        .filter((place) => place.running)
        .every(({ status }) => {
          const all = status.members
            .map(({ address }) => address)
            .sort()
            .join();
          return status.state === "serving" && all === wanted && status.members.every(({ part }) => part === "voter");
        }) && true,
  );
}

test(
  "members that start one after the other wait by name, and found one cluster when the last is there",
  async () => {
    members = await RaftMembers.prepare(3);
    const [first, second, third] = [...members.places].sort((a, b) => (a.address < b.address ? 1 : -1)) as [
      RaftPlace,
      RaftPlace,
      RaftPlace,
    ];
    await first.start();
    await second.start();
    const running = members;
    await running.until(() => first.status.detail?.includes(third.address));
    expect(first.status).toMatchObject({ state: "waiting", cluster: null });
    expect(
      await ask(running, first, { kind: "query", query: { kind: "snapshot", prefix: "", consistency: "linearizable" } }),
    ).toMatchObject({
      kind: "unavailable",
      reason: expect.stringContaining(third.address),
    });
    await third.start();
    await settled(running, running.addresses);
    expect(new Set(running.places.map(({ status }) => status.cluster)).size).toBe(1);
  },
  CASE_TIMEOUT_MS,
);

test(
  "a wiped member comes back as a new one in the place of the old; two in turn; nothing is lost",
  async () => {
    const running = await started(3);
    value(await running.remoteStore().put("kept", "1", within(running)));
    const cluster = running.places[0]?.status.cluster ?? null;
    for (const place of running.places.slice(0, 2)) {
      const before = place.status.member.id;
      await place.stop("immediate");
      place.wipe();
      await place.start();
      await running.until(() => place.status.state === "serving" && place.status.members.every(({ part }) => part === "voter"));
      await settled(running, running.addresses);
      expect(place.status.member.id).not.toBe(before);
    }
    expect(running.places.map(({ status }) => status.cluster)).toEqual([cluster, cluster, cluster]);
    const snapshot = value(await running.remoteStore().snapshot("", within(running)));
    expect(snapshot.entries.map(({ key }) => key)).toEqual(["kept"]);
  },
  CASE_TIMEOUT_MS,
);

test(
  "a majority wiped: the survivor keeps the cluster, nobody founds a second one, and everyone says what it waits for",
  async () => {
    const running = await started(3);
    value(await running.remoteStore().put("kept", "1", within(running)));
    const survivor = running.places[0] as RaftPlace;
    const cluster = survivor.status.cluster;
    const wiped = running.places.slice(1);
    for (const place of wiped) await place.stop("immediate");
    for (const place of wiped) place.wipe();
    // A survivor that led and has not missed the others yet would begin to take one of them in.
    await running.until(() => survivor.status.role !== "leader");
    for (const place of wiped) await place.start();
    await running.until(() => wiped.every(({ status }) => status.state === "joining" && status.detail?.startsWith("waiting")));
    await running.clock.sleepUntil(ms(running.clock.now() + 2500));
    expect(running.places.map(({ status }) => status.cluster)).toEqual([cluster, cluster, cluster]);
    expect(running.places.filter(({ status }) => status.role === "leader")).toEqual([]);

    // The documented way out: the survivor alone, the others with empty folders.
    for (const place of running.places) await place.stop("immediate");
    const recovered = await recoverAlone({ folder: survivor.folder, address: survivor.address, log: recordingLog() });
    expect(recovered).toMatchObject({ ok: true, value: { kept: `${survivor.folder}.before-recover` } });
    for (const place of wiped) place.wipe();
    for (const place of running.places) await place.start();
    await settled(running, running.addresses);
    expect(new Set(running.places.map(({ status }) => status.cluster)).size).toBe(1);
    expect(survivor.status.cluster).not.toBe(cluster as never);
    expect(value(await running.remoteStore().snapshot("", within(running))).entries.map(({ key }) => key)).toEqual(["kept"]);
  },
  CASE_TIMEOUT_MS,
);

test(
  "a fourth and a fifth member join under load, the leader is removed, and no operation fails",
  async () => {
    const running = await started(3);
    const store = running.remoteStore();
    let writing = true;
    const failures: unknown[] = [];
    let written = 0;
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      while (writing) {
        const result = await store.put(`load/${writer}`, String(written), within(running));
        if (result.ok) written++;
        else failures.push(result.error);
      }
    });
    for (let count = 0; count < 2; count++) await (await running.newcomer()).start();
    await settled(running, running.addresses);
    const leader = await running.leader();
    const helper = running.places.find((place) => place !== leader) as RaftPlace;
    const removed = await ask(running, helper, { kind: "remove", member: leader.address });
    expect(["done", "unknown-outcome"]).toContain(removed.kind);
    await running.until(() => leader.stopped);
    expect(leader.stopped).toContain("was removed from the cluster");
    await settled(
      running,
      running.addresses.filter((address) => address !== leader.address),
    );
    writing = false;
    await Promise.all(writers);
    expect(failures).toEqual([]);
    expect(written).toBeGreaterThan(100);
    await store.close();

    // It was told; started again it says so again instead of disturbing the others.
    await leader.start();
    await running.until(() => leader.stopped);
    expect(leader.stopped).toContain("was removed from the cluster");
  },
  CASE_TIMEOUT_MS,
);

test(
  "what is longer than a frame is refused in words, as a request and as an answer; the member and other requests live on",
  async () => {
    const running = await started(1);
    const store = running.remoteStore();
    expect(await store.put("long", "x".repeat(30_000_000), within(running))).toMatchObject({ ok: false, error: { kind: "rejected" } });
    for (let count = 0; count < 56; count++) value(await store.put(`big/${count}`, `${count}${"x".repeat(500_000)}`, within(running)));
    expect(await store.snapshot("big/", within(running))).toMatchObject({
      ok: false,
      error: { kind: "rejected", reason: expect.stringContaining("longer prefix") },
    });
    expect(value(await store.snapshot("big/1", within(running))).entries).toHaveLength(11);
    await store.close();
  },
  CASE_TIMEOUT_MS,
);

test(
  "a second identity at a live voter's address is refused",
  async () => {
    const running = await started(3);
    const leader = await running.leader();
    const other = running.places.find((place) => place !== leader) as RaftPlace;
    const { cluster } = leader.status;
    const id = "f".repeat(32);
    const body = `{"peer":${JSON.stringify({ kind: "join", from: { id, address: other.address }, clusterId: cluster, was: "newcomer" })}}`;
    const answer = await running.askText(leader.address, body);
    expect(JSON.parse(answer)).toEqual({ kind: "refused", reason: expect.stringContaining("is alive") });
  },
  CASE_TIMEOUT_MS,
);

test(
  "a clean stop hands the lead over before it ends, and a write goes through within moments",
  async () => {
    const running = await started(3);
    const times: number[] = [];
    for (let round = 0; round < 5; round++) {
      const leader = await running.leader();
      const other = running.places.find((place) => place !== leader) as RaftPlace;
      const store = other.store();
      value(await store.put("round", `${round}`, within(running)));
      const from = performance.now();
      const stopping = leader.stop("clean");
      value(await store.put("round", `${round} again`, within(running)));
      times.push(ownMs(from));
      await stopping;
      await leader.start();
      await running.until(() => leader.status.leader !== null);
    }
    console.log(`  clean stop: a write went through after ${times.map((time) => Math.round(time)).join(", ")} ms`);
    // No election timeout passes: without a handover it would be half a second at least.
    expect(Math.min(...times)).toBeLessThan(400);
  },
  CASE_TIMEOUT_MS,
);

test(
  "transfer and snapshot do what they say; add explains what is missing; names that nobody has are refused",
  async () => {
    const running = await started(3);
    const leader = await running.leader();
    const target = running.places.find((place) => place !== leader) as RaftPlace;
    expect(await ask(running, leader, { kind: "transfer", to: target.address })).toEqual({ kind: "done" });
    expect((await running.leader()).address).toBe(target.address);
    expect(await ask(running, target, { kind: "snapshot" })).toEqual({ kind: "done" });
    await running.until(() => target.status.snapshotIndex > 0);
    expect(await ask(running, target, { kind: "remove", member: "nobody:1" })).toMatchObject({
      kind: "refused",
      reason: expect.stringContaining("nobody:1"),
    });
    expect(await ask(running, target, { kind: "add", address: leader.address, replaces: null })).toEqual({ kind: "done" });
    expect(await ask(running, target, { kind: "add", address: "127.0.0.1:1", replaces: null })).toMatchObject({ kind: "unavailable" });
    expect(await ask(running, target, { kind: "members" })).toMatchObject({ kind: "members", leader: { address: target.address } });
    expect(votersOf(target)).toHaveLength(3);
  },
  CASE_TIMEOUT_MS,
);

test(
  "a member that was away gets the snapshot and goes on; everyone restarts from snapshot and log",
  async () => {
    const running = await started(3, { config: { snapshots: { entries: 200, bytes: 1e9 } } });
    const leader = await running.leader();
    const away = running.places.find((place) => place !== leader) as RaftPlace;
    await away.stop("immediate");
    // For a member that was heard a moment ago the leader keeps what it still needs.
    const silence = () => leader.status.members.find(({ address }) => address === away.address)?.silentMs ?? 0;
    await running.until(() => silence() > DEFAULT_RAFT_TIMINGS.electionMaxMs);
    const store = running.remoteStore(running.addresses.filter((address) => address !== away.address));
    for (let count = 0; count < 4000; count += 40) {
      await Promise.all(Array.from({ length: 40 }, async (_, at) => value(await store.put(`k/${at}`, `${count}`, within(running)))));
    }
    const { revision } = value(await store.snapshot("", within(running)));
    await away.start();
    await running.until(() => away.status.revision === revision);
    expect(away.log.lines.join("\n")).toContain("installed the leader's snapshot");
    await store.close();
    for (const place of running.places) await place.stop("immediate");
    const from = running.clock.now();
    await Promise.all(running.places.map((place) => place.start()));
    const again = value(await running.remoteStore().snapshot("", within(running)));
    console.log(`  all restarted: serving after ${Math.round(running.clock.now() - from)} ms`);
    expect(again.revision).toBe(revision);
    expect(again.entries).toHaveLength(40);
  },
  CASE_TIMEOUT_MS,
);

test(
  "a member in a Worker serves as any other; a crash of its thread is seen at once",
  async () => {
    const [port] = await serverPorts(1);
    const folder = mkdtempSync(join(tmpdir(), "raft-"));
    const { clock } = await started(1);
    const entry = new URL("../../lib/runtime/raft-thread.ts", import.meta.url);
    const config = raftMemberConfig({ selfAddress: `127.0.0.1:${port}`, partnerAddresses: [], security: { kind: "plain" } });
    const crashing = new URL("./fixtures/crashing-raft-thread.ts", import.meta.url);
    const open = async (module: URL): Promise<LocalMember> => {
      const member = new LocalMember({ entry: module, clock, log: recordingLog() });
      expect(await member.start(folder, config)).toEqual({ ok: true, value: null });
      return member;
    };
    const deadline = () => ({ deadline: ms(clock.now() + BUDGET_MS) });
    const storeOver = (channel: LocalMember) =>
      new RaftStore({ channel, clock, random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)) });

    const first = await open(entry);
    value(await storeOver(first).put("a", "1", deadline()));
    // Longer than anything that may be said: refused in words, and the thread lives on.
    expect(await storeOver(first).put("b", "x".repeat(30_000_000), deadline())).toMatchObject({ ok: false, error: { kind: "rejected" } });
    await first.stop("clean");
    expect(await first.request({ kind: "status" }, deadline().deadline)).toMatchObject({ kind: "unavailable" });

    const second = await open(crashing);
    expect(value(await storeOver(second).snapshot("", deadline())).entries).toHaveLength(1);
    const stopped = new Promise<string>((resolve) => {
      second.onStopped = resolve;
    });
    const waiting = second.request({ kind: "watch", prefix: "", after: 99 as never, waitMs: ms(10_000) }, deadline().deadline);
    expect(await stopped).toBe("its thread failed: the thread dies on purpose");
    expect(await waiting).toMatchObject({ kind: "unknown-outcome" });

    const taken = new LocalMember({ entry, clock, log: recordingLog() });
    const bound = { ...config, bindAddress: members?.places[0]?.address ?? "" };
    expect(await taken.start(folder, bound)).toMatchObject({ ok: false, error: expect.stringContaining("cannot listen") });
    expect(readdirSync(folder)).toContain("identity");
    rmSync(folder, { recursive: true });
  },
  CASE_TIMEOUT_MS,
);
