// Goal: no write that was acknowledged is ever lost, although all members are killed at once, again and again, in the middle of
// writes. Method: three members as processes of their own, on real disks; writers that put new keys as fast as they are
// acknowledged; SIGKILL of all; after each restart every acknowledged key is looked up. MATRIARCH_KILL_ROUNDS changes the rounds.

import { afterAll, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RemoteMembers } from "../../lib/dcs/raft/client/remote.ts";
import { RaftStore } from "../../lib/dcs/raft/store.ts";
import { tcpNetwork } from "../../lib/dcs/raft/transport/tcp-network.ts";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { value } from "../conformance/suite-context.ts";
import { wholeFromEnvironment } from "../harness/from-environment.ts";
import { serverPorts } from "../harness/ports.ts";
import { recordingLog } from "../harness/recording-log.ts";

const ROUNDS = wholeFromEnvironment("MATRIARCH_KILL_ROUNDS", 100);
const TEST_TIMEOUT_MS = 60_000 + ROUNDS * 8000;
const MEMBERS = 3;
const WRITERS = 8;
const WRITE_MS = 200;
const BUDGET_MS = 15_000;
const PROGRAM = join(import.meta.dir, "../../scripts/benchmarks/raft-member.ts");
const security = { kind: "plain" } as const;
const clock = realClock();
const random = (bytes: number): Uint8Array => randomBytes(bytes);
const within = () => ({ deadline: ms(clock.now() + BUDGET_MS) });
const folders = Array.from({ length: MEMBERS }, () => mkdtempSync(join(tmpdir(), "raft-kill-")));
let members: readonly ChildProcess[] = [];

afterAll(async () => {
  await killAll();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

test(
  `no acknowledged write is lost in ${ROUNDS} rounds of killing all members`,
  async () => {
    const addresses = (await serverPorts(MEMBERS)).map((port) => `127.0.0.1:${port}`);
    const acknowledged = new Set<string>();
    let unknown = 0;
    for (let round = 1; round <= ROUNDS; round++) {
      members = await Promise.all(addresses.map((address, place) => started(folders[place] as string, address, addresses)));
      const { store, close } = client(addresses);
      // The acknowledged keys of all rounds before, and whatever else was applied.
      const there = new Set(value(await store.snapshot("", within())).entries.map(({ key }) => key));
      expect([...acknowledged].filter((key) => !there.has(key))).toEqual([]);

      let writing = true;
      const writers = Array.from({ length: WRITERS }, async (_, writer) => {
        const { store: own, close: closeOwn } = client(addresses);
        for (let count = 0; writing; count++) {
          const key = `${round}/${writer}/${count}`;
          const result = await own.put(key, "v", { deadline: ms(clock.now() + WRITE_MS * 4) });
          if (result.ok) acknowledged.add(key);
          else unknown++;
        }
        closeOwn();
      });
      await clock.sleepUntil(ms(clock.now() + WRITE_MS * (0.5 + Math.random())));
      await killAll();
      writing = false;
      await Promise.all(writers);
      close();
    }
    console.log(`  ${ROUNDS} rounds: ${acknowledged.size} writes acknowledged, none lost; ${unknown} without an answer`);
    expect(acknowledged.size).toBeGreaterThan(ROUNDS * WRITERS);
  },
  TEST_TIMEOUT_MS,
);

function client(addresses: readonly string[]): { readonly store: RaftStore; readonly close: () => void } {
  const log = recordingLog();
  const network = tcpNetwork({ clock, security, log });
  const channel = new RemoteMembers({ addresses, network, clock, random, security, silentMs: 2000, log });
  return { store: new RaftStore({ channel, clock, random }), close: () => channel.close() };
}

function started(folder: string, address: string, addresses: readonly string[]): Promise<ChildProcess> {
  const partners = addresses.filter((other) => other !== address);
  const child = spawn(process.execPath, ["run", PROGRAM, folder, address, ...partners], { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    child.stdout.once("data", () => resolve(child));
    child.once("exit", (code) => reject(new Error(`the member at ${address} ended with status ${code}`)));
  });
}

async function killAll(): Promise<void> {
  const running = members.filter((member) => member.exitCode === null && member.signalCode === null);
  const ended = running.map((member) => new Promise((resolve) => member.once("exit", resolve)));
  for (const member of running) member.kill("SIGKILL");
  await Promise.all(ended);
}
