// Owns telling systemd how the service is (READY=1, STOPPING=1, STATUS=…). Must never fail the service: without systemd
// nothing is sent.

import { dlopen, FFIType, ptr } from "bun:ffi";

// Source: sd_notify(3), unix(7).
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0o2000000 | 0o4000;
/** struct sockaddr_un: two bytes of family, then the path. */
const PATH_OFFSET = 2;
const PATH_BYTES_MAX = 107;

const libc = dlopen("libc.so.6", {
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  sendto: { args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i64 },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
});

/** Sends lines such as `READY=1`. False where there is no systemd, or it does not take them. */
export function notifySystemd(lines: readonly string[], socketPath = process.env["NOTIFY_SOCKET"]): boolean {
  if (socketPath === undefined || !/^[/@]/.test(socketPath)) return false;
  const path = Buffer.from(socketPath);
  if (path.length > PATH_BYTES_MAX) return false;
  // "@" stands for the abstract namespace.
  if (path[0] === 0x40) path[0] = 0;
  const address = Buffer.alloc(PATH_OFFSET + path.length);
  address.writeUInt16LE(AF_UNIX, 0);
  path.copy(address, PATH_OFFSET);
  const fd = libc.symbols.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) return false;
  const message = Buffer.from(lines.join("\n"));
  const sent = libc.symbols.sendto(fd, ptr(message), message.length, 0, ptr(address), address.length);
  libc.symbols.close(fd);
  return Number(sent) === message.length;
}
