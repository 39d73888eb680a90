// Owns a socket as systemd gives one to a service of Type=notify, and what arrives there. Knows nothing of who sends.

import { dlopen, FFIType, ptr } from "bun:ffi";
import { chmodSync, rmSync } from "node:fs";

// Source: unix(7), recv(2).
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_DONTWAIT = 0x40;
/** struct sockaddr_un: two bytes of family, then the path. */
const PATH_OFFSET = 2;
const DATAGRAM_MAX_BYTES = 4096;

const libc = dlopen("libc.so.6", {
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  recv: { args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i64 },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
});

export class NotifySocket {
  readonly path: string;
  readonly #fd: number;
  readonly #received: string[] = [];

  /** Binds it; anybody may send. Throws where that fails. */
  constructor(path: string) {
    this.path = path;
    const name = Buffer.from(`${path}\0`);
    const address = Buffer.alloc(PATH_OFFSET + name.length);
    address.writeUInt16LE(AF_UNIX, 0);
    name.copy(address, PATH_OFFSET);
    this.#fd = libc.symbols.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    if (libc.symbols.bind(this.#fd, ptr(address), address.length) !== 0) throw new Error(`${path} cannot be bound`);
    chmodSync(path, 0o666);
  }

  /** Every datagram so far, in order. */
  received(): readonly string[] {
    const buffer = Buffer.alloc(DATAGRAM_MAX_BYTES);
    for (;;) {
      const length = Number(libc.symbols.recv(this.#fd, ptr(buffer), buffer.length, MSG_DONTWAIT));
      if (length < 0) return this.#received;
      this.#received.push(buffer.toString("utf8", 0, length));
    }
  }

  close(): void {
    libc.symbols.close(this.#fd);
    rmSync(this.path, { force: true });
  }
}
