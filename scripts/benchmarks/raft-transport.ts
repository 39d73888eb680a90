// Owns the measurement of the Raft's transport: frames through codec and framing, and round trips and throughput over
// loopback, plain, with a password and with TLS. Both ends run in this process, on one event loop.
//   bun run scripts/benchmarks/raft-transport.ts

import type { Message } from "../../lib/dcs/raft/core/types.ts";
import { ByteWriter } from "../../lib/dcs/raft/transport/byte-writer.ts";
import { FRAME_MAX_BYTES, type PeerFrame, readFrame, writeFrame } from "../../lib/dcs/raft/transport/frame.ts";
import { FrameSplitter } from "../../lib/dcs/raft/transport/frame-splitter.ts";
import type { TransportIdentity } from "../../lib/dcs/raft/transport/hello.ts";
import type { Security } from "../../lib/dcs/raft/transport/security.ts";
import { tcpNetwork } from "../../lib/dcs/raft/transport/tcp-network.ts";
import { DEFAULT_TRANSPORT_TIMINGS, Transport } from "../../lib/dcs/raft/transport/transport.ts";
import { logIndex, type MemberId, term } from "../../lib/model/raft.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { makeAuthority } from "../../test/harness/certificates.ts";
import { recordingLog } from "../../test/harness/recording-log.ts";

const CODEC_FRAMES = 1_000_000;
const BATCH_FRAMES = 64;
const ROUND_TRIPS = 20_000;
const WARM_UP = 2_000;
const STREAM_FRAMES = 300_000;
/** Sent and not yet arrived, so that the stream flows and no queue grows. */
const IN_FLIGHT = 256;
const PAYLOAD_BYTES = 300;

const ANSWER: Message = { kind: "append-answer", term: term(7), outcome: "matched", index: logIndex(123_456), damage: null, round: 99 };
const APPEND: Message = {
  kind: "append",
  term: term(7),
  previousIndex: logIndex(123_455),
  previousTerm: term(7),
  entries: [{ index: logIndex(123_456), term: term(7), kind: "command", time: 1234.5, payload: new Uint8Array(PAYLOAD_BYTES) }],
  commit: logIndex(123_455),
  repair: null,
  time: 1234.5,
  round: 99,
};

function framesPerSecond(message: Message): number {
  const writer = new ByteWriter();
  const splitter = new FrameSplitter(FRAME_MAX_BYTES);
  let count = 0;
  const receive = (bytes: Uint8Array, start: number, end: number): boolean => {
    if (readFrame(bytes, start, end)?.kind === "raft") count++;
    return true;
  };
  const run = (frames: number): number => {
    const begun = performance.now();
    for (let sent = 0; sent < frames; sent += BATCH_FRAMES) {
      for (let one = 0; one < BATCH_FRAMES; one++) writeFrame(writer, { kind: "raft", message });
      splitter.push(writer.written().slice(), receive);
      writer.clear();
    }
    return performance.now() - begun;
  };
  run(CODEC_FRAMES / 10);
  count = 0;
  const tookMs = run(CODEC_FRAMES);
  return (count / tookMs) * 1000;
}

/** Two connected members, each with the other's id. */
async function connected(security: Security): Promise<readonly [Transport, Transport]> {
  const clock = realClock();
  const log = recordingLog();
  const network = tcpNetwork({ clock, security, log });
  const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));
  const start = (id: MemberId): Transport => {
    const identity: TransportIdentity = { memberId: id, clusterId: null, address: "127.0.0.1:0", list: [], state: "empty" };
    return new Transport({ network, clock, random, log, identity: () => identity, security, timings: DEFAULT_TRANSPORT_TIMINGS });
  };
  const [one, two] = [start(ONE), start(TWO)];
  const listener = await two.listen("127.0.0.1:0");
  if (!listener.ok) throw new Error(listener.error);
  const up = Promise.withResolvers<void>();
  one.onPeerUp = () => up.resolve();
  one.setPeers([{ id: TWO, address: listener.value.address }]);
  await up.promise;
  return [one, two];
}

const ONE = "1".repeat(32) as MemberId;
const TWO = "2".repeat(32) as MemberId;

/** In ms, sorted: an append of one entry there, an answer back. */
async function roundTrips(one: Transport, two: Transport): Promise<readonly number[]> {
  const times: number[] = [];
  const done = Promise.withResolvers<void>();
  const append: PeerFrame = { kind: "raft", message: APPEND };
  const answer: PeerFrame = { kind: "raft", message: ANSWER };
  let begun = performance.now();
  two.onPeerFrame = () => two.send(ONE, answer);
  one.onPeerFrame = () => {
    const now = performance.now();
    times.push(now - begun);
    begun = now;
    if (times.length === WARM_UP + ROUND_TRIPS) done.resolve();
    else one.send(TWO, append);
  };
  one.send(TWO, append);
  await done.promise;
  return times.slice(WARM_UP).sort((a, b) => a - b);
}

async function framesPerSecondOver(one: Transport, two: Transport): Promise<number> {
  const done = Promise.withResolvers<void>();
  const append: PeerFrame = { kind: "raft", message: APPEND };
  let [arrived, sent] = [0, 0];
  const more = (): void => {
    while (sent < STREAM_FRAMES && sent - arrived < IN_FLIGHT) {
      one.send(TWO, append);
      sent++;
    }
  };
  two.onPeerFrame = () => {
    arrived++;
    if (arrived === STREAM_FRAMES) done.resolve();
    else if (sent - arrived <= IN_FLIGHT / 2) more();
  };
  const begun = performance.now();
  more();
  await done.promise;
  return (STREAM_FRAMES / (performance.now() - begun)) * 1000;
}

function at(sorted: readonly number[], share: number): string {
  return (sorted[Math.floor(sorted.length * share)] ?? Number.NaN).toFixed(3);
}

const whole = (value: number): string => Math.round(value).toLocaleString("en");
console.log(`codec and framing, in batches of ${BATCH_FRAMES} (n = ${whole(CODEC_FRAMES)}):`);
console.log(`  append-answer              ${whole(framesPerSecond(ANSWER))} frames/s`);
console.log(`  append, one entry of ${PAYLOAD_BYTES} B  ${whole(framesPerSecond(APPEND))} frames/s`);

const authority = makeAuthority();
const { cert, key } = authority.issue("member");
const protections: readonly Security[] = [
  { kind: "plain" },
  { kind: "password", password: "benchmark" },
  { kind: "tls", caFile: authority.ca, certFile: cert, keyFile: key, keyPassword: null },
];
console.log(
  `loopback, append of one entry of ${PAYLOAD_BYTES} B (round trips: n = ${whole(ROUND_TRIPS)}, stream: n = ${whole(STREAM_FRAMES)}):`,
);
for (const security of protections) {
  const [one, two] = await connected(security);
  const times = await roundTrips(one, two);
  const stream = await framesPerSecondOver(one, two);
  console.log(
    `  ${security.kind.padEnd(9)} round trip p50 ${at(times, 0.5)} ms, p99 ${at(times, 0.99)} ms; stream ${whole(stream)} frames/s`,
  );
  one.close();
  two.close();
}
authority.remove();
