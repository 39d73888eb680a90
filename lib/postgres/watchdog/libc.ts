// Owns the few libc calls that the watchdog drivers need and Bun does not have. Must not hold state.

import { dlopen, FFIType, ptr } from "bun:ffi";

const libc = dlopen("libc.so.6", {
  mkfifo: { args: [FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  ioctl: { args: [FFIType.i32, FFIType.u64, FFIType.ptr], returns: FFIType.i32 },
});

/** False where it could not be made (it exists, no permission, no such folder). */
export function makeFifo(path: string, mode: number): boolean {
  return libc.symbols.mkfifo(ptr(Buffer.from(`${path}\0`)), mode) === 0;
}

/** ioctl(2) on a pointer to one int. Returns the int afterwards; null where the call failed. */
export function ioctlInt(fd: number, request: number, value: number): number | null {
  const cell = new Int32Array([value]);
  return libc.symbols.ioctl(fd, request, ptr(cell)) < 0 ? null : (cell[0] ?? null);
}

const FIONREAD = 0x541b;

/** Bytes written into a pipe and not yet read; null where it is not a pipe. */
export function unreadBytes(fd: number): number | null {
  return ioctlInt(fd, FIONREAD, 0);
}
