// Owns one end of a stream of the fake network: what is on its way to it, when it arrives, and how the stream ends.

import { copyOf } from "../../lib/dcs/raft/transport/byte-reader.ts";
import { type Connection, QUEUE_MAX_BYTES } from "../../lib/dcs/raft/transport/network.ts";
import type { Schedule } from "./fake-network.ts";

type ProcessState = "running" | "paused" | "crashed" | "off";

/** What both ends share. */
export interface Wire {
  readonly schedule: Schedule;
  readonly random: () => number;
  readonly arrival: "whole" | "chopped";
  readonly delayMs: () => number;
  readonly stateOf: (end: "dialled" | "accepted") => ProcessState;
  /** Another process runs on the host of that end now. */
  readonly restarted: (end: "dialled" | "accepted") => boolean;
  readonly isStalled: (from: string, to: string) => boolean;
  readonly over: (end: FakeConnection) => void;
}

/** Something that arrives: bytes, the end of the stream, or an action of the process (accepting, being connected). */
type Arrival =
  | { readonly bytes: Uint8Array }
  | { readonly end: "reset"; readonly by: "peer" | "own-kernel" }
  | { readonly act: () => void };

interface Arriving {
  readonly at: number;
  readonly what: Arrival;
}

export class FakeConnection implements Connection {
  onData: (bytes: Uint8Array) => void = () => {};
  onClose: Connection["onClose"] = () => {};
  readonly remote: string;
  readonly local: string;
  readonly other: string;
  readonly #end: "dialled" | "accepted";
  readonly #wire: Wire;
  #peer: FakeConnection | null = null;
  /** In order; each waits for its instant, for the wire, and for the process. */
  readonly #arriving: Arriving[] = [];
  #lastAt = 0;
  #arrivingBytes = 0;
  #state: "open" | "closed" | "dead" = "open";

  constructor(end: "dialled" | "accepted", wire: Wire, local: string, other: string, remote: string) {
    this.#end = end;
    this.#wire = wire;
    this.local = local;
    this.other = other;
    this.remote = remote;
  }

  pairWith(peer: FakeConnection): void {
    this.#peer = peer;
  }

  get queued(): number {
    return this.#peer?.waitingBytes ?? 0;
  }

  get waitingBytes(): number {
    return this.#arrivingBytes;
  }

  write(bytes: Uint8Array): void {
    const peer = this.#peer;
    if (this.#state !== "open" || bytes.length === 0 || peer === null) return;
    if (peer.#arrivingBytes + bytes.length > QUEUE_MAX_BYTES) {
      this.close();
      return;
    }
    for (const piece of this.#chop(bytes)) peer.#expect({ bytes: piece });
  }

  close(): void {
    if (this.#state !== "open") return;
    this.#leave("closed");
    this.#tellPeer();
    this.onClose("local");
  }

  /** The process is gone: no handler is called any more. A killed one's kernel tells the other side, a host without power cannot. */
  die(): void {
    if (this.#state === "dead") return;
    const wasOpen = this.#state === "open";
    this.#leave("dead");
    if (wasOpen && this.#wire.stateOf(this.#end) !== "off") this.#tellPeer();
  }

  /** The stream is torn: what is under way is lost, and this side learns it at once, or as soon as its process runs. */
  breakOff(): void {
    if (this.#state !== "open") return;
    const acts = this.#arriving.filter(({ what }) => "act" in what);
    this.#arriving.splice(0, Infinity, ...acts, { at: this.#wire.schedule.now(), what: { end: "reset", by: "own-kernel" } });
    this.#arrivingBytes = 0;
    this.#arrive();
  }

  /** Its end was seen already: nothing will be told of it any more. */
  get isOver(): boolean {
    return this.#state !== "open";
  }

  /** As soon as the process runs: for what its kernel has already done. */
  whenRunning(act: () => void): void {
    this.#arriving.unshift({ at: this.#wire.schedule.now(), what: { act } });
    this.wake();
  }

  /** The wire or a process has changed: what waited may go on. */
  wake(): void {
    if (this.#state === "open" && this.#otherRestarted() && !this.#ending()) this.#expect({ end: "reset", by: "peer" });
    this.#arrive();
  }

  /** The first packet to a host that started again is answered with a reset. */
  #otherRestarted(): boolean {
    return this.#wire.restarted(this.#end === "dialled" ? "accepted" : "dialled");
  }

  #tellPeer(): void {
    const peer = this.#peer;
    if (peer !== null) peer.#expect({ end: "reset", by: "peer" });
  }

  #ending(): boolean {
    return this.#arriving.some(({ what }) => "end" in what);
  }

  #chop(bytes: Uint8Array): readonly Uint8Array[] {
    if (this.#wire.arrival === "whole" || bytes.length < 2) return [copyOf(bytes)];
    const cut = 1 + Math.floor(this.#wire.random() * (bytes.length - 1));
    return [copyOf(bytes, 0, cut), copyOf(bytes, cut)];
  }

  #expect(what: Arrival): void {
    if (this.#state !== "open") return;
    const { schedule, delayMs } = this.#wire;
    this.#lastAt = Math.max(this.#lastAt, schedule.now() + delayMs());
    if ("bytes" in what) this.#arrivingBytes += what.bytes.length;
    this.#arriving.push({ at: this.#lastAt, what });
    schedule.at(this.#lastAt, this.#arrive);
  }

  readonly #arrive = (): void => {
    const { schedule, isStalled, stateOf } = this.#wire;
    while (this.#state === "open" && this.#arriving.length > 0) {
      const first = this.#arriving[0] as Arriving;
      if (first.at > schedule.now() || stateOf(this.#end) !== "running") return;
      const overTheWire = "bytes" in first.what || ("end" in first.what && first.what.by === "peer");
      if (overTheWire && isStalled(this.other, this.local)) return;
      this.#arriving.shift();
      this.#take(first.what);
      if ("act" in first.what) return;
    }
  };

  #take(what: Arrival): void {
    if ("act" in what) {
      what.act();
      // Whoever gets the connection sets its handlers before the next turn.
      this.#wire.schedule.at(this.#wire.schedule.now(), this.#arrive);
    } else if ("bytes" in what) {
      this.#arrivingBytes -= what.bytes.length;
      this.onData(what.bytes);
    } else {
      this.#leave("closed");
      this.onClose(what.end);
    }
  }

  #leave(state: "closed" | "dead"): void {
    this.#state = state;
    this.#arriving.length = 0;
    this.#arrivingBytes = 0;
    this.#wire.over(this);
  }
}
