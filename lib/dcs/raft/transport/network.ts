// Owns the interface to byte streams between members, so that the simulator can supply its own network. Knows no frame.
// Implemented over TCP and TLS in tcp-network.ts.

import type { Ms } from "../../../model/units.ts";

/** One connection. Handlers are set before the next turn of the event loop, so nothing that arrives is missed. */
export interface Connection {
  /** Of the other side, for log lines. */
  readonly remote: string;
  onData: (bytes: Uint8Array) => void;
  /**
   * Once, also after `close` from this side. `reset`: the other side's process is gone (reset or end of stream). `untrusted`:
   * TLS did not come about (of accepted connections alone; whoever connects gets a ConnectError); the reason says why.
   */
  onClose: (cause: "local" | "reset" | "silent" | "untrusted", reason?: string) => void;
  /**
   * Sends or copies the bytes before it returns: the caller may use its buffer again. The connection closes itself (cause
   * `local`) where more than `QUEUE_MAX_BYTES` wait. After the end nothing happens.
   */
  write(bytes: Uint8Array): void;
  /** Bytes that wait to be sent. */
  readonly queued: number;
  /** Calls `onClose` before it returns; what waits is still sent, as far as the other side takes it within a short time. */
  close(): void;
}

/** Why no connection came about. `refused`: somebody answered that nobody listens there (or this machine knows no way there). */
export interface ConnectError {
  readonly kind: "refused" | "unreachable" | "timeout" | "tls";
  readonly message: string;
}

export interface Listener {
  /** `host:port` as really bound. */
  readonly address: string;
  close(): void;
}

export interface Network {
  /** Accepted before TLS is done, so that one deadline covers everything; data come after it. Throws Error where the address cannot be bound. */
  listen(address: string, accept: (connection: Connection) => void): Promise<Listener>;
  /** Resolves names anew each time. Rejects never: the answer is a connection or why there is none. */
  connect(address: string, deadline: Ms): Promise<Connection | ConnectError>;
}

/** A peer that does not read is a lost peer: 64 MiB would be minutes of a busy log. */
export const QUEUE_MAX_BYTES = 64 * 1024 * 1024;
