// Owns a real folder as a Disk, on node:fs: mode 0700, files 0600, and what each error of the system means for the member.
// Knows nothing of what the files hold.

import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { err, ok, type Result } from "../../../model/result.ts";
import { type Disk, DiskError, type DiskFile } from "./disk.ts";

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
/**
 * Zeros are written in pieces of this size, each synced before the next: a sync of the log waits for what the disk is busy with,
 * and 8 MiB at once made it wait twenty times as long as usual.
 */
const ZERO_BYTES = 256 * 1024;
/** Up to this a write only copies into the page cache, in microseconds: less than a hop to another thread and back. */
const DIRECT_WRITE_BYTES_MAX = 256 * 1024;
const FULL_CODES: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);

/** Makes the folder where it is missing, durably. Refuses what is not a folder, or is not this user's. */
export function openFileDisk(folder: string): Result<FileDisk, DiskError> {
  try {
    if (fs.mkdirSync(folder, { recursive: true, mode: FOLDER_MODE }) !== undefined) syncFolderNow(dirname(folder));
    const stat = fs.statSync(folder);
    if (!stat.isDirectory()) return err(new DiskError("failed", folder, `${folder} is not a folder`));
    if ((stat.mode & 0o777) !== FOLDER_MODE) fs.chmodSync(folder, FOLDER_MODE);
    return ok(new FileDisk(folder));
  } catch (thrown) {
    return err(diskError("prepare", folder, thrown));
  }
}

export class FileDisk implements Disk {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async list(): Promise<readonly string[]> {
    const entries = await this.#run("list", "", () => fs.promises.readdir(this.#folder, { withFileTypes: true }));
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name)
      .sort();
  }

  async read(name: string): Promise<Uint8Array> {
    const bytes = await this.#run("read", name, () => fs.promises.readFile(this.#path(name)));
    // Not a Buffer: its `slice` would be a view where every other array's is a copy.
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  async readAt(name: string, offset: number, length: number): Promise<Uint8Array> {
    return this.#run("read", name, async () => {
      const handle = await fs.promises.open(this.#path(name), "r");
      try {
        const bytes = new Uint8Array(length);
        let got = 0;
        while (got < length) {
          const { bytesRead } = await handle.read(bytes, got, length - got, offset + got);
          if (bytesRead === 0) break;
          got += bytesRead;
        }
        return bytes.subarray(0, got);
      } finally {
        await handle.close();
      }
    });
  }

  async create(name: string, size: number): Promise<DiskFile> {
    const path = this.#path(name);
    const fd = await this.#run("create", name, async () => fs.openSync(path, "wx", FILE_MODE));
    const file = new OpenFile(path, fd);
    try {
      const zeros = new Uint8Array(Math.min(ZERO_BYTES, size));
      for (let at = 0; at < size; at += zeros.length) {
        await file.writeElsewhere(at, zeros.subarray(0, size - at));
        if (at + zeros.length < size) await file.sync();
      }
      await this.#run("sync", name, () => called((done) => fs.fsync(fd, done)));
      await this.syncFolder();
      return file;
    } catch (thrown) {
      await file.close();
      // What there is no room for must not take up room.
      fs.rmSync(path, { force: true });
      throw thrown;
    }
  }

  async open(name: string): Promise<DiskFile> {
    const path = this.#path(name);
    return this.#run("open", name, async () => new OpenFile(path, fs.openSync(path, "r+")));
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#run("rename", from, () => fs.promises.rename(this.#path(from), this.#path(to)));
  }

  async remove(name: string): Promise<void> {
    await this.#run("remove", name, () => fs.promises.unlink(this.#path(name)));
  }

  async syncFolder(): Promise<void> {
    await this.#run("sync", "", async () => {
      const handle = await fs.promises.open(this.#folder, "r");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  async #run<T>(what: string, name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      throw diskError(what, this.#path(name), thrown);
    }
  }
}

class OpenFile implements DiskFile {
  readonly #path: string;
  readonly #fd: number;
  #open = true;

  constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    if (bytes.length > DIRECT_WRITE_BYTES_MAX) return this.writeElsewhere(offset, bytes);
    try {
      let done = 0;
      while (done < bytes.length) done += fs.writeSync(this.#fd, bytes, done, bytes.length - done, offset + done);
      return Promise.resolve();
    } catch (thrown) {
      return Promise.reject(diskError("write", this.#path, thrown));
    }
  }

  /** In another thread, so that a large write holds up nothing here. */
  async writeElsewhere(offset: number, bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) done += await this.#writePart(bytes, done, offset + done);
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => (error === null ? resolve() : reject(diskError("sync", this.#path, error))));
    });
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await called((done) => fs.close(this.#fd, done));
  }

  #writePart(bytes: Uint8Array, from: number, offset: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.write(this.#fd, bytes, from, bytes.length - from, offset, (error, written) =>
        error === null ? resolve(written) : reject(diskError("write", this.#path, error)),
      );
    });
  }
}

function called(start: (done: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => start((error) => (error === null || error === undefined ? resolve() : reject(error))));
}

/** Makes a rename or a new name inside the folder durable. Throws the system's error. */
export function syncFolderNow(folder: string): void {
  const fd = fs.openSync(folder, "r");
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function diskError(what: string, path: string, thrown: unknown): DiskError {
  if (thrown instanceof DiskError) return thrown;
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  const kind = FULL_CODES.has(code) ? "full" : code === "ENOENT" ? "absent" : "failed";
  return new DiskError(kind, path, `cannot ${what} ${path}: ${error.message}`);
}
