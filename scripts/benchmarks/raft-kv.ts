// Owns how fast the key-value machine applies commands, on one core. Run alone: bun run scripts/benchmarks/raft-kv.ts [COMMANDS]
// Each row decodes its commands from bytes, as they come from the log, and only the applying is timed, after a warm-up.

import type { Command, CommandAnswer } from "../../lib/dcs/raft/kv/command.ts";
import { encodeEnvelope } from "../../lib/dcs/raft/kv/command-codec.ts";
import { KeyValueMachine } from "../../lib/dcs/raft/kv/machine.ts";
import { logIndex } from "../../lib/model/raft.ts";
import { ms } from "../../lib/model/units.ts";

const COMMANDS = 500_000;
const KEYS = 1_000;
const WARM_UP = 50_000;
/** Encoded beforehand and forgotten afterwards, as the entries of a log are. */
const BATCH = 1_000;
const CLIENTS = 16;
/** A value as a member's record has it. */
const VALUE = "x".repeat(200);
const SESSION = "s".repeat(32);

const count = Number(process.argv[2] ?? COMMANDS);
if (!Number.isSafeInteger(count) || count < 1) {
  console.error("usage: bun run scripts/benchmarks/raft-kv.ts [COMMANDS]");
  process.exit(2);
}

measure("put over an existing key", (n) => put(`service/demo/members/node-${n % KEYS}`, `${VALUE}${n}`));
measure("put of a new key", (n) => put(`service/demo/members/node-${(n * 7_919) % 99_991}`, `${VALUE}${n}`));
measure("compare-and-set that fails", (n) => ({
  kind: "change",
  changes: [{ kind: "put", key: `service/demo/${n % KEYS}`, value: VALUE, condition: { kind: "value", value: "no" } }],
}));
measure("renewal of a session", () => ({ kind: "renew-session", id: SESSION }));
measure("transaction of 4 changes", (n) => ({
  kind: "change",
  changes: [0, 1, 2, 3].map((each) => ({ kind: "put", key: `service/demo/${each}`, value: `${VALUE}${n}` })),
}));

function put(key: string, value: string): Command {
  return { kind: "change", changes: [{ kind: "put", key, value }] };
}

function measure(title: string, command: (n: number) => Command): void {
  const machine = new KeyValueMachine();
  let index = 0;
  const apply = (payload: Uint8Array): CommandAnswer => machine.apply({ index: logIndex(++index), time: index / 1_000, payload });
  const clients = Array.from({ length: CLIENTS }, (_, each) => {
    const answer = apply(envelope(null, 0, { kind: "open-client", id: `${each}`.padStart(32, "c") }));
    if (!answer.ok || answer.value.kind !== "client") throw new Error("no client was registered");
    return answer.value.id;
  });
  apply(envelope(clients[0] as string, 1, { kind: "open-session", id: SESSION, name: "bench", ttl: ms(30_000), place: null }));
  const encode = (n: number): Uint8Array => envelope(clients[n % CLIENTS] as string, 2 + Math.floor(n / CLIENTS), command(n));
  let elapsed = 0;
  for (let n = -WARM_UP; n < count; n += BATCH) {
    const payloads = Array.from({ length: Math.min(BATCH, count - n) }, (_, each) => encode(WARM_UP + n + each));
    const begin = performance.now();
    for (const payload of payloads) apply(payload);
    if (n >= 0) elapsed += performance.now() - begin;
  }
  const perSecond = Math.round((count / elapsed) * 1_000);
  console.log(
    `${title.padEnd(28)} ${perSecond.toLocaleString("en").padStart(10)}/s  ${((elapsed / count) * 1_000).toFixed(2)} µs  n=${count}`,
  );
  const saving = performance.now();
  const snapshot = machine.snapshot();
  const saved = performance.now();
  const restored = KeyValueMachine.restore(snapshot);
  const end = performance.now();
  if (!restored.ok || restored.value.digest() !== machine.digest()) throw new Error("the snapshot does not give the same state");
  console.log(
    `  ${machine.counts.keys} keys: snapshot ${(saved - saving).toFixed(1)} ms, restore ${(end - saved).toFixed(1)} ms, ${snapshot.length} bytes`,
  );
}

function envelope(client: string | null, sequence: number, command: Command): Uint8Array {
  return encodeEnvelope({ client, sequence, acknowledged: Math.max(0, sequence - 5), command });
}
