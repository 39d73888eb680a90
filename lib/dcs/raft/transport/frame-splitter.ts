// Owns cutting a stream of bytes into the frames that it carries, however it arrives. A frame that lies whole in a chunk is
// handed out where it lies; only one that is spread over chunks is copied. Knows nothing of what a frame holds.

import { uint32At } from "./byte-reader.ts";
import { FRAME_HEAD_BYTES } from "./frame.ts";

const EMPTY = new Uint8Array(0);
/** So few are copied faster than a view of them is made. */
const SHORT_BYTES = 128;

/** `too-long`: its head announced `length` bytes. `stopped`: the receiver wants no more. */
export type SplitOutcome =
  | { readonly kind: "more" }
  | { readonly kind: "stopped" }
  | { readonly kind: "too-long"; readonly length: number };

const MORE: SplitOutcome = { kind: "more" };
const STOPPED: SplitOutcome = { kind: "stopped" };

export class FrameSplitter {
  /** Longest frame from now on, without its head; the receiver may change it between two frames. */
  limit: number;
  /** What arrived of a frame that is not whole: the first `#held` bytes of it. */
  #pending = EMPTY;
  #held = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Nothing of another frame has arrived. */
  get between(): boolean {
    return this.#held === 0;
  }

  /**
   * `receive` gets each whole frame without its head: bytes from `start` to `end`, valid until it returns; false ends the
   * splitting. Memory for a frame grows with what has arrived of it, never with what its head announces.
   */
  push(chunk: Uint8Array, receive: (bytes: Uint8Array, start: number, end: number) => boolean): SplitOutcome {
    let at = 0;
    while (this.#held > 0) {
      const wanted = this.#held < FRAME_HEAD_BYTES ? FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + uint32At(this.#pending, 0);
      if (this.#held === wanted) {
        const frame = this.#pending;
        this.#pending = EMPTY;
        this.#held = 0;
        if (!receive(frame, FRAME_HEAD_BYTES, wanted)) return STOPPED;
        break;
      }
      if (at === chunk.length) return MORE;
      const end = Math.min(chunk.length, at + wanted - this.#held);
      this.#hold(chunk, at, end, wanted);
      at = end;
      const length = this.#held < FRAME_HEAD_BYTES ? 0 : uint32At(this.#pending, 0);
      if (length > this.limit) return { kind: "too-long", length };
    }
    return this.#split(chunk, at, receive);
  }

  #split(chunk: Uint8Array, from: number, receive: (bytes: Uint8Array, start: number, end: number) => boolean): SplitOutcome {
    let at = from;
    while (chunk.length - at >= FRAME_HEAD_BYTES) {
      const length = uint32At(chunk, at);
      if (length > this.limit) return { kind: "too-long", length };
      const end = at + FRAME_HEAD_BYTES + length;
      if (end > chunk.length) break;
      if (!receive(chunk, at + FRAME_HEAD_BYTES, end)) return STOPPED;
      at = end;
    }
    if (at < chunk.length) this.#hold(chunk, at, chunk.length, chunk.length - at);
    return MORE;
  }

  #hold(chunk: Uint8Array, from: number, to: number, wanted: number): void {
    const needed = this.#held + to - from;
    if (needed > this.#pending.length) {
      const larger = new Uint8Array(Math.max(needed, Math.min(wanted, this.#pending.length * 2)));
      larger.set(this.#pending.subarray(0, this.#held));
      this.#pending = larger;
    }
    if (to - from > SHORT_BYTES) this.#pending.set(chunk.subarray(from, to), this.#held);
    else for (let at = from; at < to; at++) this.#pending[this.#held + at - from] = chunk[at] as number;
    this.#held = needed;
  }
}
