// Owns one connection from its first byte to its last: the handshake with its deadline, frames both ways, sealing, batching,
// and noticing that the other side has gone silent. It logs nothing and decides nothing: whoever has it does.

import type { Clock } from "../../../model/clock.ts";
import { assertNever } from "../../../model/result.ts";
import { type Ms, ms } from "../../../model/units.ts";
import { ByteWriter } from "./byte-writer.ts";
import { type Farewell, FRAME_HEAD_BYTES, FRAME_MAX_BYTES, type Frame, HANDSHAKE_FRAME_MAX_BYTES, readFrame, writeFrame } from "./frame.ts";
import { FrameSplitter } from "./frame-splitter.ts";
import { FAREWELL_TEXT, Handshake, type HandshakeOptions } from "./handshake.ts";
import type { HelloAnswer, Role } from "./hello.ts";
import type { Connection } from "./network.ts";
import { Sealing, TAG_BYTES } from "./session-keys.ts";

/** What is written in one go, at most about; frames of one turn of the event loop leave together. */
const BATCH_BYTES = 256 * 1024;
/** A sealed record holds the frames of one batch; the last of them may be as long as a frame can be. */
const RECORD_MAX_BYTES = BATCH_BYTES + FRAME_HEAD_BYTES + FRAME_MAX_BYTES + TAG_BYTES;
/** A record kept for the next batch; a larger one was for one large frame. */
const KEPT_RECORD_BYTES = 1024 * 1024;
/** Looks in which nothing arrived until the other side counts as silent. Looks, not time: a pause of this process ends nothing. */
const SILENT_LOOKS = 4;

const MISFITS: readonly Farewell[] = ["security", "password", "version", "other-cluster"];

/**
 * - `gone`: reset or end of stream; the other process is gone. - `silent`: nothing came for `silentMs`, or no HELLO in time.
 * - `farewell`: the other side closed on purpose and said why. - `refused`: this side did, for the other's fault.
 * - `misfit`: the same, because its password, certificate, version or cluster is another one: so it will be the next time.
 * - `closed`: this side did, for reasons of its own.
 */
export interface ChannelEnd {
  readonly kind: "gone" | "silent" | "farewell" | "refused" | "misfit" | "closed";
  /** About the other side, for a log line: "it …". */
  readonly text: string;
}

export interface ChannelOptions {
  readonly side: "initiator" | "responder";
  readonly connection: Connection;
  readonly clock: Clock;
  readonly silentMs: number;
  /** The handshake has to be over by then. */
  readonly deadline: Ms;
  readonly handshake: HandshakeOptions;
}

type Established = Extract<ReturnType<Handshake["receive"]>, { readonly kind: "done" }>;

/** Handlers are set before the next turn of the event loop. None is called after `onClosed`. */
export class Channel {
  onEstablished: (role: Role, hello: HelloAnswer | null) => void = () => {};
  /** Pings and farewells stay here. */
  onFrame: (frame: Exclude<Frame, { readonly kind: "ping" | "farewell" }>) => void = () => {};
  /** Once, whoever closed. */
  onClosed: (end: ChannelEnd) => void = () => {};
  readonly remote: string;
  readonly #connection: Connection;
  readonly #options: ChannelOptions;
  readonly #handshake: Handshake;
  readonly #writer = new ByteWriter();
  readonly #splitter = new FrameSplitter(HANDSHAKE_FRAME_MAX_BYTES + FRAME_HEAD_BYTES + TAG_BYTES);
  #timer = new AbortController();
  #sealing: Sealing | null = null;
  #opening: Sealing | null = null;
  #record = new Uint8Array(0);
  #state: "handshake" | "established" | "closed" = "handshake";
  #flushing = false;
  #sent = false;
  #received = false;
  #heard = false;

  constructor(options: ChannelOptions) {
    const { connection } = options;
    this.#options = options;
    this.#connection = connection;
    this.remote = connection.remote;
    connection.onData = (bytes) => this.#onData(bytes);
    connection.onClose = (cause, reason) => this.#onConnectionClosed(cause, reason);
    this.#handshake = new Handshake(options.side, options.handshake, {
      write: (frames) => {
        this.#writer.bytes(frames);
        this.#flush();
      },
      seal: (key) => {
        this.#sealing = new Sealing(key);
      },
      open: (key) => {
        this.#opening = new Sealing(key);
      },
    });
    void this.#watchHandshake();
  }

  get established(): boolean {
    return this.#state === "established";
  }

  /** Something arrived at all. */
  get heard(): boolean {
    return this.#heard;
  }

  /** Bytes that wait to be sent. */
  get queued(): number {
    return this.#writer.length + this.#connection.queued;
  }

  /** Nothing happens unless established. Throws RangeError where the frame is longer than FRAME_MAX_BYTES. */
  send(frame: Frame): void {
    if (this.#state !== "established") return;
    writeFrame(this.#writer, frame);
    if (this.#writer.length >= BATCH_BYTES) {
      this.#flush();
      return;
    }
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(this.#flushLater);
  }

  /** Closes for a fault of the other side, which is told the reason; `text` is for the log line. */
  refuse(farewell: Farewell, text: string): void {
    this.#farewell(farewell);
    this.#end({ kind: MISFITS.includes(farewell) ? "misfit" : "refused", text });
  }

  /** Closes for a reason of this side's own. */
  close(farewell: Farewell | null): void {
    if (farewell !== null) this.#farewell(farewell);
    this.#flush();
    this.#end({ kind: "closed", text: "closed by this side" });
  }

  readonly #flushLater = (): void => {
    this.#flushing = false;
    this.#flush();
  };

  #flush(): void {
    const frames = this.#writer.written();
    if (frames.length === 0 || this.#state === "closed") return;
    this.#connection.write(this.#sealing === null ? frames : this.#seal(this.#sealing, frames));
    this.#sent = true;
    this.#writer.clear();
  }

  #seal(sealing: Sealing, frames: Uint8Array): Uint8Array {
    const length = FRAME_HEAD_BYTES + frames.length + TAG_BYTES;
    if (length > this.#record.length)
      this.#record = new Uint8Array(length > KEPT_RECORD_BYTES ? length : Math.min(2 * length, KEPT_RECORD_BYTES));
    const record = this.#record.subarray(0, length);
    new DataView(record.buffer).setUint32(0, length - FRAME_HEAD_BYTES, true);
    sealing.seal(frames, record.subarray(0, FRAME_HEAD_BYTES), record.subarray(FRAME_HEAD_BYTES));
    if (this.#record.length > KEPT_RECORD_BYTES) this.#record = new Uint8Array(0);
    return record;
  }

  #onData(bytes: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#received = true;
    this.#heard = true;
    const outcome = this.#splitter.push(bytes, this.#receive);
    if (outcome.kind !== "too-long") return;
    const when = this.#state === "handshake" ? " before the handshake was over" : "";
    this.refuse("protocol", `it announced a frame of ${outcome.length} bytes${when}; at most ${this.#splitter.limit} are allowed`);
  }

  readonly #receive = (bytes: Uint8Array, start: number, end: number): boolean => {
    if (this.#opening === null) {
      this.#receiveFrame(bytes, start, end);
      return this.#state !== "closed";
    }
    const head = bytes.subarray(start - FRAME_HEAD_BYTES, start);
    const text = this.#opening.open(bytes.subarray(start, end), head);
    if (text === null) {
      this.refuse("protocol", "a record of it was altered, repeated, or is none");
      return false;
    }
    const inside = new FrameSplitter(this.#state === "handshake" ? HANDSHAKE_FRAME_MAX_BYTES : FRAME_MAX_BYTES);
    const outcome = inside.push(text, this.#receiveInside);
    if (this.#stateNow() === "closed") return false;
    if (outcome.kind === "more" && inside.between) return true;
    this.refuse("protocol", "a record of it does not hold whole frames");
    return false;
  };

  readonly #receiveInside = (bytes: Uint8Array, start: number, end: number): boolean => {
    this.#receiveFrame(bytes, start, end);
    return this.#state !== "closed";
  };

  #receiveFrame(bytes: Uint8Array, start: number, end: number): void {
    if (this.#state === "handshake") {
      this.#shakeHands(bytes, start, end);
      return;
    }
    const frame = readFrame(bytes, start, end);
    if (frame === null) {
      this.refuse("protocol", "it sent a malformed frame");
      return;
    }
    if (frame.kind === "ping") return;
    if (frame.kind === "farewell") {
      this.#end({ kind: "farewell", text: FAREWELL_TEXT[frame.reason] });
      return;
    }
    this.onFrame(frame);
  }

  #shakeHands(bytes: Uint8Array, start: number, end: number): void {
    const step = this.#handshake.receive(bytes, start, end);
    switch (step.kind) {
      case "more":
        return;
      case "refused":
        if (step.farewell === null) {
          this.#end({ kind: "farewell", text: step.text });
          return;
        }
        this.refuse(step.farewell, step.text);
        return;
      case "done":
        this.#establish(step);
        return;
    }
  }

  #establish(done: Established): void {
    this.#state = "established";
    this.#timer.abort();
    this.#timer = new AbortController();
    void this.#watchSilence();
    this.#splitter.limit = this.#sealing === null ? FRAME_MAX_BYTES : RECORD_MAX_BYTES;
    this.onEstablished(done.role, done.hello);
  }

  /** A reader of `#state` that a compiler does not take for unchanged after a callback. */
  #stateNow(): "handshake" | "established" | "closed" {
    return this.#state;
  }

  #farewell(reason: Farewell): void {
    if (this.#state === "closed") return;
    writeFrame(this.#writer, { kind: "farewell", reason });
    this.#flush();
  }

  #onConnectionClosed(cause: Parameters<Connection["onClose"]>[0], reason: string | undefined): void {
    switch (cause) {
      case "local":
        this.#end({ kind: "silent", text: "it does not read what is sent" });
        return;
      case "silent":
        this.#end({ kind: "silent", text: "it does not answer any more" });
        return;
      case "untrusted":
        this.#end({ kind: "misfit", text: reason ?? "TLS failed" });
        return;
      case "reset":
        this.#end({ kind: "gone", text: this.#state === "handshake" ? "it closed in the middle of the handshake" : "it closed" });
        return;
      default:
        assertNever(cause);
    }
  }

  #end(end: ChannelEnd): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#timer.abort();
    this.#writer.clear();
    this.#connection.close();
    this.onClosed(end);
  }

  /** Says so: where the wire is cut in one direction only, the other side must not take this process for gone. */
  #giveUp(text: string): void {
    this.#farewell("silent");
    this.#end({ kind: "silent", text });
  }

  async #watchHandshake(): Promise<void> {
    await this.#options.clock.sleepUntil(this.#options.deadline, this.#timer.signal);
    if (this.#state === "handshake") this.#giveUp("it did not say HELLO in time");
  }

  async #watchSilence(): Promise<void> {
    const { clock, silentMs } = this.#options;
    let silent = 0;
    for (;;) {
      await clock.sleepUntil(ms(clock.now() + silentMs / SILENT_LOOKS), this.#timer.signal);
      if (this.#state !== "established") return;
      silent = this.#received ? 0 : silent + 1;
      this.#received = false;
      if (silent === SILENT_LOOKS) return this.#giveUp(`nothing came from it for ${Math.round(silentMs)} ms`);
      if (!this.#sent) {
        this.send({ kind: "ping" });
        this.#flush();
      }
      this.#sent = false;
    }
  }
}
