// Owns the interface to one folder of files, so that the simulator can supply its own disk. Every method rejects with a
// DiskError; nothing here retries. Implemented on node:fs in file-disk.ts.

export interface DiskFile {
  /** Writes all bytes at the offset. Nothing is durable before `sync`. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** fdatasync. After a rejection the file's content on the disk is unknown: never sync again (raft.md, Log). */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /** Names of the folder's files, sorted. */
  list(): Promise<readonly string[]>;
  /** The whole file. */
  read(name: string): Promise<Uint8Array>;
  /** At most `length` bytes from the offset; shorter at the end of the file. */
  readAt(name: string, offset: number, length: number): Promise<Uint8Array>;
  /** A new file of mode 0600, filled with zeros up to the size (really allocated, not sparse), file and folder fsynced. */
  create(name: string, size: number): Promise<DiskFile>;
  /** An existing file, for writing. */
  open(name: string): Promise<DiskFile>;
  /** Atomic; durable after `syncFolder`. */
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
  syncFolder(): Promise<void>;
}

/** `full`: no space (ENOSPC, EDQUOT). `absent`: no such file. `failed`: everything else; the member must stop. */
export class DiskError extends Error {
  override readonly name = "DiskError";
  readonly kind: "full" | "absent" | "failed";
  readonly file: string;

  constructor(kind: "full" | "absent" | "failed", file: string, message: string) {
    super(message);
    this.kind = kind;
    this.file = file;
  }
}
