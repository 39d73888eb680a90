// Goal: the two threads understand each other, and nothing else gets through. Method: examples both ways, and nonsense.

import { expect, test } from "bun:test";
import {
  BATCH_MAX,
  Batch,
  readBatch,
  readToMain,
  readToMember,
  type ToMain,
  type ToMember,
  toldText,
} from "../../../../../lib/dcs/raft/client/thread-protocol.ts";
import { raftMemberConfig } from "../../../../../lib/dcs/raft/member/config.ts";
import { ms } from "../../../../../lib/model/units.ts";

const config = raftMemberConfig({ selfAddress: "a:1", partnerAddresses: ["b:1"], security: { kind: "password", password: "secret" } });

test("every message arrives as it was meant", () => {
  const toMember: readonly ToMember[] = [
    { kind: "start", folder: "/data", config },
    { kind: "request", id: 1, body: "{}", deadline: ms(12.5) },
    { kind: "cancel", id: 1 },
    { kind: "stop", mode: "clean" },
  ];
  for (const message of toMember) expect(readToMember(structuredClone(message))).toEqual(message);
  const toMain: readonly ToMain[] = [
    { kind: "started", error: null },
    { kind: "started", error: "no" },
    { kind: "answer", id: 1, body: "{}" },
    { kind: "log", level: "warning", message: "m" },
    { kind: "halted", reason: "r" },
    { kind: "stopped" },
  ];
  for (const message of toMain) expect(readToMain(structuredClone(message))).toEqual(message);
});

test("what is no such message, or beyond its bounds, is refused", () => {
  for (const nonsense of [
    null,
    1,
    "start",
    {},
    { kind: "start" },
    { kind: "request", id: -1, body: "", deadline: 1 },
    { kind: "answer" },
  ]) {
    expect(readToMember(nonsense)).toBeNull();
  }
  expect(readToMember({ kind: "request", id: 1, body: "", deadline: Number.NaN })).toBeNull();
  expect(readToMain({ kind: "log", level: "shout", message: "" })).toBeNull();
  expect(readToMain({ kind: "halted", reason: "x".repeat(100_000) })).toBeNull();
  expect(readToMain({ kind: "halted", reason: toldText("x".repeat(100_000)) })).not.toBeNull();
});

test("what is said in one turn is posted together and in order, in batches that the other side takes", async () => {
  const posted: (readonly ToMain[])[] = [];
  const batch = new Batch<ToMain>((messages) => posted.push(messages));
  const said = Array.from({ length: BATCH_MAX + 2 }, (_, id): ToMain => ({ kind: "answer", id, body: "{}" }));
  for (const message of said) batch.add(message);
  await new Promise((resolve) => setImmediate(resolve));
  batch.add({ kind: "stopped" });
  await new Promise((resolve) => setImmediate(resolve));
  expect(posted.map(({ length }) => length)).toEqual([BATCH_MAX, 2, 1]);
  expect(posted.flatMap((messages) => readBatch(structuredClone(messages), readToMain))).toEqual([...said, { kind: "stopped" }]);
});

test("a batch with one message that makes no sense, or that is too long, is refused as a whole", () => {
  const message: ToMain = { kind: "stopped" };
  expect(readBatch(message, readToMain)).toBeNull();
  expect(readBatch([message, { kind: "nonsense" }], readToMain)).toBeNull();
  expect(readBatch(new Array(BATCH_MAX + 1).fill(message), readToMain)).toBeNull();
});
