// The core's snapshots and what it does with a damaged log, in an orderly world.

import { describe, expect, test } from "bun:test";
import type { Raft } from "../../../../../lib/dcs/raft/core/raft.ts";
import { CHUNK_BYTES_MAX } from "../../../../../lib/dcs/raft/core/snapshots.ts";
import type { SnapshotMeta } from "../../../../../lib/dcs/raft/core/types.ts";
import { logIndex, term } from "../../../../../lib/model/raft.ts";
import { bytes, CoreWorld, founding, idOf } from "./core-world.ts";

describe("snapshots and damage", () => {
  test("a member that needs what the log no longer holds gets the snapshot in chunks, then entries", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const away = [1, 2, 3].find((number) => idOf(number) !== leader) as number;
    world.cut.add(idOf(away));
    for (let count = 0; count < 3000; count++) world.step(leader, { kind: "propose", id: count, payload: bytes(`${count}`) });
    world.settle();
    const raft = world.members.get(leader)?.raft;
    // Until it has been silent for a while the log is kept for it.
    world.run(1500);
    const meta = raft?.snapshotMeta(logIndex(2500));
    if (meta === undefined) throw new Error("the leader is there");
    const size = 100_000;
    world.step(leader, { kind: "snapshot-saved", meta, size });
    world.cut.delete(idOf(away));
    let received = 0;
    for (let round = 0; round < 200 && received < size; round++) {
      world.run(100);
      for (const chunk of world.members.get(leader)?.outputs.flatMap((output) => output.chunksToSend) ?? []) {
        if (chunk.offset !== received) continue;
        const { to, length, ...head } = chunk;
        world.step(to, { kind: "message", from: leader, message: { kind: "snapshot-chunk", ...head, data: new Uint8Array(length) } });
        received += length;
        world.settle();
      }
    }
    expect(received).toBe(size);
    world.step(idOf(away), { kind: "snapshot-installed", meta, size });
    world.run(1000);
    const applied = world.member(away).committed.map((entry) => entry.index);
    expect(applied.filter((index) => index > 2000)).toEqual(
      Array.from({ length: (raft?.status().commit ?? 0) - 2500 }, (_, index) => logIndex(2501 + index)),
    );
  });

  test("a member gets whole what takes four times as long to send as snapshots come one after the other, and catches up", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const raft = world.members.get(leader)?.raft as Raft;
    const away = [1, 2, 3].find((number) => idOf(number) !== leader) as number;
    world.cut.add(idOf(away));
    const size = 40 * CHUNK_BYTES_MAX;
    const files: SnapshotMeta[] = [];
    let installing: SnapshotMeta | null = null;
    const chunks = () =>
      world.members
        .get(leader)
        ?.outputs.splice(0)
        .flatMap((output) => output.chunksToSend) ?? [];
    const tenth = (at: number): void => {
      for (let count = 0; count < 300; count++) world.step(leader, { kind: "propose", id: count, payload: bytes("a") });
      world.settle();
      if (at % 10 === 0) {
        const meta = raft.snapshotMeta(raft.status().commit);
        const kept = [...files.slice(-1), ...raft.snapshotsInUse];
        files.splice(0, files.length, ...files.filter((file) => kept.includes(file)), meta);
        world.step(leader, { kind: "snapshot-saved", meta, size });
      }
      if (installing !== null) world.step(idOf(away), { kind: "snapshot-installed", meta: installing, size });
      installing = null;
      world.run(100);
      for (const { to, length, ...head } of chunks()) {
        if (!files.includes(head.meta)) continue;
        world.step(to, { kind: "message", from: leader, message: { kind: "snapshot-chunk", ...head, data: new Uint8Array(length) } });
        if (head.offset + length === size) installing = head.meta;
      }
      world.settle();
    };
    for (let at = 1; at <= 30; at++) tenth(at);
    world.cut.delete(idOf(away));
    const isThere = (): boolean => {
      const { commit, firstIndex } = raft.status();
      return world.member(away).raft.status().applied > commit - 1000 && firstIndex > commit - 10_000;
    };
    for (let at = 31; at <= 200 && !isThere(); at++) tenth(at);
    const { commit, firstIndex } = raft.status();
    expect(world.member(away).raft.status().applied).toBeGreaterThan(commit - 1000);
    // And the log is short again.
    expect(firstIndex).toBeGreaterThan(commit - 10_000);
  });

  test("a damaged log gives no vote and counts for nothing until the leader has made it whole", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    for (const text of ["a", "b", "c"]) world.step(leader, { kind: "propose", id: 1, payload: bytes(text) });
    world.settle();
    const [damaged, other] = [1, 2, 3].filter((number) => idOf(number) !== leader) as [number, number];
    const kept = world.member(damaged).committed.slice(0, 2);
    const hardState = { term: world.member(damaged).raft.role.term, votedFor: null };
    world.add(damaged, founding(3), { entries: kept, log: "damaged", hardState });
    const request = { kind: "vote-request", purpose: "transfer", term: term(50), lastIndex: logIndex(99), lastTerm: term(49) } as const;
    expect(world.step(idOf(damaged), { kind: "message", from: idOf(other), message: request }).messages).toEqual([]);
    world.cut.add(idOf(other));
    world.step(leader, { kind: "propose", id: 2, payload: bytes("d") });
    world.run(300);
    expect(world.member(damaged).outputs.some((output) => output.repaired === "whole")).toBe(true);
    expect(world.member(damaged).outputs.flatMap((output) => output.writes?.writes ?? [])).toContainEqual({ kind: "whole" });
    expect(world.member(damaged).raft.status().health).toBe("whole");
    expect(world.payloads(damaged)).toEqual(["a", "b", "c", "d"]);
  });
});
