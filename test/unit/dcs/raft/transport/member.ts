// Owns one member's transport for tests, over any network, with a record of everything that it reports.

import type { PeerFrame } from "../../../../../lib/dcs/raft/transport/frame.ts";
import type { TransportIdentity } from "../../../../../lib/dcs/raft/transport/hello.ts";
import type { Network } from "../../../../../lib/dcs/raft/transport/network.ts";
import type { Security } from "../../../../../lib/dcs/raft/transport/security.ts";
import { DEFAULT_TRANSPORT_TIMINGS, Transport, type TransportTimings } from "../../../../../lib/dcs/raft/transport/transport.ts";
import type { Clock } from "../../../../../lib/model/clock.ts";
import type { MemberId, RaftClusterId, RaftMember } from "../../../../../lib/model/raft.ts";
import { type RecordingLog, recordingLog } from "../../../../harness/recording-log.ts";

export interface TestMember {
  readonly id: MemberId;
  readonly transport: Transport;
  readonly identity: { -readonly [K in keyof TransportIdentity]: TransportIdentity[K] };
  readonly log: RecordingLog;
  /** `up a`, `lost a gone`, `a: text of a founding frame`, in order. */
  readonly events: string[];
  readonly member: RaftMember;
}

export interface MemberOptions {
  /** One digit: the member's id is it 32 times. */
  readonly name: string;
  readonly network: Network;
  readonly clock: Clock;
  readonly bind: string;
  readonly security?: Security;
  readonly timings?: Partial<TransportTimings>;
  readonly clusterId?: string;
  readonly log?: RecordingLog;
  /** Default: really random. */
  readonly random?: (bytes: number) => Uint8Array;
}

/** Listening. Throws Error where it cannot. */
export async function startMember(options: MemberOptions): Promise<TestMember> {
  const {
    name,
    network,
    clock,
    bind,
    security = { kind: "plain" },
    timings,
    clusterId,
    log = recordingLog(),
    random = realRandom,
  } = options;
  const id = name.repeat(32) as MemberId;
  const identity: TestMember["identity"] = {
    memberId: id,
    clusterId: (clusterId?.repeat(32) ?? null) as RaftClusterId | null,
    address: bind,
    list: [],
    state: "empty",
  };
  const transport = new Transport({
    network,
    clock,
    random,
    log,
    identity: () => identity,
    security,
    timings: { ...DEFAULT_TRANSPORT_TIMINGS, ...timings },
  });
  const events: string[] = [];
  transport.onPeerUp = (peer) => void events.push(`up ${peer[0]}`);
  transport.onPeerLost = (peer, cause) => void events.push(`lost ${peer[0]} ${cause}`);
  transport.onPeerFrame = (peer, frame) => void events.push(`${peer[0]}: ${frame.kind === "founding" ? frame.body : frame.kind}`);
  const listener = await transport.listen(bind);
  if (!listener.ok) throw new Error(listener.error);
  identity.address = listener.value.address;
  return { id, transport, identity, log, events, member: { id, address: listener.value.address } };
}

export function founding(body: string): PeerFrame {
  return { kind: "founding", body };
}

/** Lines that say that a connection was refused. */
export function refusals(log: RecordingLog): readonly string[] {
  return log.lines.filter((line) => line.includes("refused"));
}

export function realRandom(bytes: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(bytes));
}
