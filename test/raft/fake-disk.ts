// Owns a disk in memory that behaves as badly as a real one may: what is not synced can be lost from any byte on, in each file
// on its own; bits rot; it is full, read-only, slow, or fails. Time and chance come from outside, so a run can be replayed.
// A process that is to be crashed works on a `mount()`.

import { type Disk, DiskError, type DiskFile } from "../../lib/dcs/raft/storage/disk.ts";
import { crashContent, type DiskOperation, type FakeContent, FakeFile, type LosesSector, unsyncedBytes } from "./fake-file.ts";

export interface FakeDiskOptions {
  /** Runs each operation's end later. Default: at once, so that a promise resolves in the same turn. */
  readonly after?: (delayMs: number, run: () => void) => void;
  /** How long the operation takes, in ms. Default 0. */
  readonly latency?: (operation: DiskOperation) => number;
}

/**
 * How much of what was not synced a crash keeps: of a file's unsynced bytes in the order they were written; of the folder's
 * unsynced renames and removals (name ""); of the zeros of a file that was just being created, 0 = the file is not there.
 */
export type Keep = (name: string, unsynced: number) => number;

export const KEEP_ALL: Keep = (_name, unsynced) => unsynced;
export const KEEP_NOTHING: Keep = () => 0;

type FolderChange =
  | { readonly kind: "rename"; readonly from: string; readonly to: string; readonly replaced: FakeContent | null }
  | { readonly kind: "remove"; readonly name: string; readonly content: FakeContent };

export class FakeDisk implements Disk {
  /** No space for anything new; what is allocated can be written. */
  full = false;
  /** Every change is refused. */
  readOnly = false;
  /** Asked at the end of each operation: an error to end it with, or null. A failed sync loses what it was to make durable. */
  fault: ((operation: DiskOperation) => DiskError | null) | null = null;
  /** Told of each operation when it begins. */
  onOperation: ((operation: DiskOperation) => void) | null = null;

  readonly #after: (delayMs: number, run: () => void) => void;
  readonly #latency: (operation: DiskOperation) => number;
  #files = new Map<string, FakeContent>();
  #changes: FolderChange[] = [];
  /** Counts crashes: what was begun before one never ends. */
  #life = 0;

  constructor(options: FakeDiskOptions = {}) {
    this.#after = options.after ?? ((_delayMs, run) => run());
    this.#latency = options.latency ?? (() => 0);
  }

  list(): Promise<readonly string[]> {
    return this.#run({ kind: "list", file: "", bytes: 0 }, () => this.names());
  }

  read(name: string): Promise<Uint8Array> {
    return this.#run({ kind: "read", file: name, bytes: this.size(name) ?? 0 }, () => this.#content(name).bytes.slice());
  }

  readAt(name: string, offset: number, length: number): Promise<Uint8Array> {
    return this.#run({ kind: "read", file: name, bytes: length }, () => this.#content(name).bytes.slice(offset, offset + length));
  }

  create(name: string, size: number): Promise<DiskFile> {
    const content: FakeContent = { bytes: new Uint8Array(size), unsynced: [], creating: true };
    const there = this.#files.get(name);
    if (there === undefined && !this.readOnly && !this.full) this.#files.set(name, content);
    const undo = (): void => {
      if (this.#files.get(name) === content) this.#files.delete(name);
    };
    const done = (): DiskFile => {
      if (there !== undefined) throw new DiskError("failed", name, `cannot create ${name}: it exists`);
      if (this.full) {
        undo();
        throw new DiskError("full", name, `cannot create ${name}: no space left on the disk`);
      }
      content.creating = false;
      this.#files.set(name, content);
      this.#changes = [];
      return new FakeFile(this, name, content);
    };
    return this.#run({ kind: "create", file: name, bytes: size }, done, undo);
  }

  open(name: string): Promise<DiskFile> {
    return this.#run({ kind: "open", file: name, bytes: 0 }, () => new FakeFile(this, name, this.#content(name)));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run({ kind: "rename", file: from, bytes: 0 }, () => {
      const content = this.#content(from);
      this.#changes.push({ kind: "rename", from, to, replaced: this.#files.get(to) ?? null });
      this.#files.delete(from);
      this.#files.set(to, content);
    });
  }

  remove(name: string): Promise<void> {
    return this.#run({ kind: "remove", file: name, bytes: 0 }, () => {
      this.#changes.push({ kind: "remove", name, content: this.#content(name) });
      this.#files.delete(name);
    });
  }

  syncFolder(): Promise<void> {
    const covered = this.#changes.length;
    return this.#run({ kind: "sync-folder", file: "", bytes: 0 }, () => {
      this.#changes.splice(0, covered);
    });
  }

  /** The disk as one process sees it: after the next crash or kill nothing that it asks for ends, or changes anything. */
  mount(): Disk {
    const life = this.#life;
    const alive = <T>(work: () => Promise<T>): Promise<T> => (life === this.#life ? work() : new Promise(() => {}));
    return {
      list: () => alive(() => this.list()),
      read: (name) => alive(() => this.read(name)),
      readAt: (name, offset, length) => alive(() => this.readAt(name, offset, length)),
      create: (name, size) => alive(() => this.create(name, size)),
      open: (name) => alive(() => this.open(name)),
      rename: (from, to) => alive(() => this.rename(from, to)),
      remove: (name) => alive(() => this.remove(name)),
      syncFolder: () => alive(() => this.syncFolder()),
    };
  }

  /** The process and the machine are gone; what was not synced is kept as far as `keep` and `loses` say. Promises of before never end. */
  crash(keep: Keep, loses: LosesSector = () => false): void {
    this.#life += 1;
    const kept = keep("", this.#changes.length);
    for (const change of this.#changes.splice(kept).reverse()) this.#undo(change);
    this.#changes = [];
    for (const name of this.names()) {
      const content = this.#content(name);
      if (content.creating) this.#crashCreating(name, content, keep);
      else if (content.unsynced.length > 0) crashContent(content, keep(name, unsyncedBytes(content)), (sector) => loses(name, sector));
    }
  }

  /** The process alone is gone: all that it wrote is still there, and can still be lost by a crash of the machine. */
  kill(): void {
    this.#life += 1;
    for (const name of this.names()) {
      const content = this.#content(name);
      if (content.creating) this.#crashCreating(name, content, KEEP_ALL);
    }
  }

  /** Flips one bit of what is on the disk; bit 0 is the lowest of the first byte. */
  rot(name: string, bit: number): void {
    const { bytes } = this.#content(name);
    const at = Math.floor(bit / 8);
    if (at >= bytes.length) throw new Error(`${name} has no bit ${bit}`);
    bytes[at] = (bytes[at] as number) ^ (1 << (bit % 8));
  }

  /** Overwrites a part of what is on the disk, as a lost or misdirected write does. */
  smash(name: string, offset: number, bytes: Uint8Array): void {
    this.#content(name).bytes.set(bytes, offset);
  }

  /** The file is gone, as by a hand that should not have. */
  vanish(name: string): void {
    this.#content(name);
    this.#files.delete(name);
  }

  /** A second disk with the same content, unsynced writes included, and the same options; no fault, not full. */
  clone(options: FakeDiskOptions = { after: this.#after, latency: this.#latency }): FakeDisk {
    const copy = new FakeDisk(options);
    const copies = new Map<FakeContent, FakeContent>();
    const copied = (content: FakeContent): FakeContent => {
      const known = copies.get(content);
      if (known !== undefined) return known;
      const made = { bytes: content.bytes.slice(), unsynced: content.unsynced.map((write) => ({ ...write })), creating: content.creating };
      copies.set(content, made);
      return made;
    };
    for (const [name, content] of this.#files) copy.#files.set(name, copied(content));
    copy.#changes = this.#changes.map((change) =>
      change.kind === "remove"
        ? { ...change, content: copied(change.content) }
        : { ...change, replaced: change.replaced === null ? null : copied(change.replaced) },
    );
    return copy;
  }

  names(): readonly string[] {
    return [...this.#files.keys()].sort();
  }

  /** Null where there is no such file. */
  size(name: string): number | null {
    return this.#files.get(name)?.bytes.length ?? null;
  }

  /** A copy of the file's content as a reader sees it. */
  peek(name: string): Uint8Array {
    return this.#content(name).bytes.slice();
  }

  /** What a crash may lose: unsynced bytes of each file, and under "" the number of changes of the folder. */
  unsynced(): ReadonlyMap<string, number> {
    const found = new Map<string, number>();
    if (this.#changes.length > 0) found.set("", this.#changes.length);
    for (const name of this.names()) {
      const content = this.#content(name);
      const bytes = content.creating ? content.bytes.length : unsyncedBytes(content);
      if (bytes > 0) found.set(name, bytes);
    }
    return found;
  }

  /** For the files: runs an operation of this life, ending it with the fault that is due. */
  run<T>(operation: DiskOperation, done: () => T, failed?: () => void): Promise<T> {
    return this.#run(operation, done, failed);
  }

  get life(): number {
    return this.#life;
  }

  #run<T>(operation: DiskOperation, done: () => T, failed?: () => void): Promise<T> {
    this.onOperation?.(operation);
    const life = this.#life;
    return new Promise((resolve, reject) => {
      this.#after(this.#latency(operation), () => {
        if (life !== this.#life) return;
        const error = this.#errorOf(operation);
        if (error !== null) {
          failed?.();
          reject(error);
          return;
        }
        try {
          resolve(done());
        } catch (thrown) {
          reject(thrown);
        }
      });
    });
  }

  #errorOf(operation: DiskOperation): DiskError | null {
    const { kind, file } = operation;
    if (this.readOnly && kind !== "list" && kind !== "read") {
      return new DiskError("failed", file, `cannot ${kind} ${file}: the disk is read-only`);
    }
    return this.fault?.(operation) ?? null;
  }

  #content(name: string): FakeContent {
    const content = this.#files.get(name);
    if (content === undefined) throw new DiskError("absent", name, `no file ${name}`);
    return content;
  }

  #crashCreating(name: string, content: FakeContent, keep: Keep): void {
    const size = keep(name, content.bytes.length);
    content.creating = false;
    content.bytes = content.bytes.slice(0, size);
    if (size === 0) this.#files.delete(name);
  }

  #undo(change: FolderChange): void {
    if (change.kind === "remove") {
      this.#files.set(change.name, change.content);
      return;
    }
    const content = this.#files.get(change.to);
    if (content !== undefined) this.#files.set(change.from, content);
    if (change.replaced === null) this.#files.delete(change.to);
    else this.#files.set(change.to, change.replaced);
  }
}
