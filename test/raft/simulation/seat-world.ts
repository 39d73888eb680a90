// Owns what a simulated member needs of its surroundings, and the moments at which a fault hurts it most.

import type { LogEntry, Message, Output, RaftTimings } from "../../../lib/dcs/raft/core/types.ts";
import type { MemberId } from "../../../lib/model/raft.ts";
import type { Random } from "../../simulation/random.ts";
import type { EventQueue } from "../../simulation/virtual-clock.ts";
import type { Ledger } from "./ledger.ts";
import type { Seat } from "./seat.ts";
import type { Trace } from "./trace.ts";

/** What a seat needs of its surroundings; a scenario file drives it by hand, a seed by chance. */
export interface SeatWorld {
  readonly queue: EventQueue;
  readonly random: Random;
  readonly trace: Trace;
  readonly ledger: Ledger;
  readonly timings: RaftTimings;
  readonly snapshotEvery: number;
  /** Bytes of a snapshot. */
  snapshotSize(): number;
  seatOf(id: MemberId): Seat | null;
  /** Between an event's arrival and the turn that handles it, ms; 0: each event has a step of its own. */
  turnDelay(): number;
  /** How long the sync that begins now takes, ms; null: nobody knows (disk full, or done by hand). */
  syncDelay(seat: Seat): number | null;
  syncFails(seat: Seat): boolean;
  snapshotDelay(seat: Seat): number;
  /** Of a received chunk: how probable it is that it cannot be read. */
  readonly badChunks: number;
  send(from: Seat, to: MemberId, message: Message): void;
  /** The moments at which a fault hurts most. Value: whether the member crashed, so that nothing more leaves it. */
  point(seat: Seat, name: ProtocolPoint): boolean;
  answered(seat: Seat, output: Output, entries: readonly LogEntry[]): void;
}

export type ProtocolPoint =
  | "wrote"
  | "voted"
  | "acknowledging"
  | "durable"
  | "leading"
  | "joint"
  | "snapshot-sent"
  | "snapshot-received"
  | "snapshot-saved"
  | "handing-over";

/** Whether the member crashed at a point that the output passes, so that nothing of it leaves. */
export function crashesAtPoint(seat: Seat, output: Output): boolean {
  const { world } = seat;
  for (const { message } of output.messages) {
    if (message.kind === "vote-answer" && message.verdict === "granted" && message.purpose === "election" && world.point(seat, "voted"))
      return true;
    if (message.kind === "append-answer" && message.index > 0 && world.point(seat, "acknowledging")) return true;
    if (message.kind === "timeout-now" && world.point(seat, "handing-over")) return true;
  }
  if (output.writes !== null && world.point(seat, "wrote")) return true;
  if (output.role?.role === "leader" && world.point(seat, "leading")) return true;
  if (output.configuration !== null && output.configuration.configuration.outgoing !== null && world.point(seat, "joint")) return true;
  if (output.chunksToSend.length > 0 && world.point(seat, "snapshot-sent")) return true;
  return output.received.length > 0 && world.point(seat, "snapshot-received");
}
