// Owns one socket of Bun as a Connection: what the socket does not take at once is queued and goes on when it drains, within a
// bound, and the end is told once. Knows no frame.

import type { Socket } from "bun";
import { copyOf } from "./byte-reader.ts";
import { type Connection, QUEUE_MAX_BYTES } from "./network.ts";

/** After `close`, what waits has this long to leave; then the socket is cut. */
const CLOSE_GRACE_MS = 1000;
/** A connection whose other side vanished without a word is noticed by the channel; this is for the kernel's own table. */
const KEEPALIVE_FIRST_MS = 10_000;

export class TcpConnection implements Connection {
  onData: (bytes: Uint8Array) => void = () => {};
  onClose: Connection["onClose"] = () => {};
  readonly remote: string;
  readonly #socket: Socket<unknown>;
  /** What waits, oldest first; of the first one `#offset` bytes are sent. */
  readonly #queue: Uint8Array[] = [];
  #offset = 0;
  #queued = 0;
  /** `securing`: TLS is not done; nothing is sent, and nothing that arrives counts. */
  #state: "securing" | "open" | "closing" | "closed";
  #grace: ReturnType<typeof setTimeout> | null = null;

  constructor(socket: Socket<unknown>, remote: string, protection: "plain" | "tls") {
    this.#socket = socket;
    this.remote = remote;
    this.#state = protection === "plain" ? "open" : "securing";
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_FIRST_MS);
  }

  get queued(): number {
    return this.#queued;
  }

  write(bytes: Uint8Array): void {
    if (this.#state !== "open" || bytes.length === 0) return;
    const sent = this.#queue.length > 0 ? 0 : Math.max(0, this.#socket.write(bytes));
    if (sent === bytes.length) return;
    this.#queued += bytes.length - sent;
    if (this.#queued > QUEUE_MAX_BYTES) {
      this.#cut("local");
      return;
    }
    this.#queue.push(copyOf(bytes, sent));
  }

  close(): void {
    if (this.#state === "securing") {
      this.#cut("local");
      return;
    }
    if (this.#state !== "open") return;
    this.#state = "closing";
    if (this.#queue.length === 0) this.#socket.end();
    else this.#grace = setTimeout(() => this.#socket.terminate(), CLOSE_GRACE_MS);
    this.onClose("local");
  }

  /** TLS is done, and the other side's certificate is good. */
  secured(): void {
    if (this.#state === "securing") this.#state = "open";
  }

  /** The socket has bytes. */
  received(bytes: Uint8Array): void {
    if (this.#state === "open") this.onData(bytes);
    else if (this.#state === "securing") this.#cut("untrusted", "bytes arrived before TLS was done");
  }

  /** The socket takes bytes again. */
  drained(): void {
    while (this.#queue.length > 0 && this.#state !== "closed") {
      const first = this.#queue[0] as Uint8Array;
      const wanted = first.length - this.#offset;
      const sent = Math.max(0, this.#socket.write(first, this.#offset, wanted));
      this.#queued -= sent;
      if (sent < wanted) {
        this.#offset += sent;
        return;
      }
      this.#queue.shift();
      this.#offset = 0;
    }
    if (this.#state === "closing") this.#socket.end();
  }

  /** The socket has ended; the error is the socket's, where it had one. */
  ended(error?: Error): void {
    if (this.#state === "securing") this.#cut("untrusted", "it closed before TLS was done");
    else this.#cut(isSilence(error) ? "silent" : "reset");
  }

  /** TLS did not come about. */
  untrusted(reason: string): void {
    this.#cut("untrusted", reason);
  }

  #cut(cause: Parameters<Connection["onClose"]>[0], reason?: string): void {
    if (this.#state === "closed") return;
    const told = this.#state === "closing";
    this.#state = "closed";
    if (this.#grace !== null) clearTimeout(this.#grace);
    this.#queue.length = 0;
    this.#queued = 0;
    this.#socket.terminate();
    if (!told) this.onClose(cause, reason);
  }
}

/** The kernel gave up on it, or knows no way to it: the other process may well be there. */
function isSilence(error: Error | undefined): boolean {
  const code = error !== undefined && "code" in error ? error.code : null;
  return code === "ETIMEDOUT" || code === "EHOSTUNREACH" || code === "ENETUNREACH";
}
