// Owns the node's own file where the supervisor has to change it: the folder of PostgreSQL's programs, in a major upgrade. The file as it was
// is kept beside it. Decides nothing.

import { constants } from "node:fs";
import { access, readFile, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { binDirOf, withBinDir } from "../config/bin-dir.ts";
import { configFiles } from "../config/files.ts";
import type { LoadedConfig } from "../config/load.ts";
import { err, ok, type Result } from "../model/result.ts";
import { readIfThere, reasonOf, replaceEntry } from "../postgres/atomic-file.ts";

export interface NodeFile {
  /** Why it cannot be changed; null where it can. */
  obstacle(binDir: string): Promise<string | null>;
  /** Names that folder in the file, keeps the file as it was, and takes it into force. Does nothing where that is so. Errors: one line. */
  usePrograms(binDir: string, id: string): Promise<Result<null, string>>;
  /** As it was before that upgrade. Does nothing where nothing was changed. Errors: one line. */
  takeBack(id: string): Promise<Result<null, string>>;
}

export interface NodeFileOptions {
  readonly path: string | null;
  readonly loaded: () => LoadedConfig;
  /** Takes the file into force. */
  readonly reload: () => Promise<void>;
}

/** Of a process that has none. */
export const NO_FILE: NodeFile = {
  obstacle: async () => "this process has no file",
  usePrograms: async () => err("this process has no file"),
  takeBack: async () => err("this process has no file"),
};

export class DiskNodeFile implements NodeFile {
  readonly #options: NodeFileOptions;

  constructor(options: NodeFileOptions) {
    this.#options = options;
  }

  async obstacle(binDir: string): Promise<string | null> {
    const source = this.#options.loaded().sources.get("postgresql.bin_dir") ?? "";
    if (source.startsWith("environment")) return `postgresql.bin_dir comes from the ${source}`;
    const file = await this.#file();
    if (!file.ok) return file.error;
    try {
      await access(file.value, constants.R_OK | constants.W_OK);
      await access(dirname(file.value), constants.W_OK);
    } catch (error) {
      return `${file.value} cannot be replaced by the supervisor: ${reasonOf(error)}`;
    }
    const changed = withBinDir(await readFile(file.value, "utf8"), binDir);
    return changed.ok ? null : `${file.value}: ${changed.error}`;
  }

  async usePrograms(binDir: string, id: string): Promise<Result<null, string>> {
    return await this.#change(async (file, text) => {
      const changed = withBinDir(text, binDir);
      if (!changed.ok || changed.value === text) return changed;
      if ((await readIfThere(keptFile(file, id))) === null) await put(keptFile(file, id), text, file);
      return changed;
    });
  }

  async takeBack(id: string): Promise<Result<null, string>> {
    return await this.#change(async (file, text) => {
      const kept = await readIfThere(keptFile(file, id));
      if (kept === null) return ok(text);
      const now = binDirOf(text);
      const before = binDirOf(kept);
      if (now === before) return ok(text);
      // Whatever else was changed in it since stays.
      if (before !== null) return withBinDir(text, before);
      const ours = withBinDir(kept, now ?? "");
      return ours.ok && ours.value === text ? ok(kept) : err("postgresql.bin_dir has to be removed by hand");
    });
  }

  async #change(edit: (file: string, text: string) => Promise<Result<string, string>>): Promise<Result<null, string>> {
    const file = await this.#file();
    if (!file.ok) return file;
    try {
      const text = await readFile(file.value, "utf8");
      const edited = await edit(file.value, text);
      if (!edited.ok) return err(`${file.value}: ${edited.error}`);
      if (edited.value !== text) await put(file.value, edited.value, file.value);
      await this.#options.reload();
      return ok(null);
    } catch (error) {
      return err(`${file.value}: ${reasonOf(error)}`);
    }
  }

  /** Of a folder of files, the last with the option; else the last with its section. */
  async #file(): Promise<Result<string, string>> {
    const { path } = this.#options;
    if (path === null) return err("the configuration comes from the environment, and not from a file");
    const files = await configFiles(path);
    if (!files.ok) return err(files.error.map((fault) => `${fault.path}: ${fault.message}`).join("; "));
    let found: string | null = null;
    let section: string | null = null;
    for (const file of files.value) {
      const text = (await readIfThere(file)) ?? "";
      if (binDirOf(text) !== null) found = file;
      if (/^["']?postgresql["']?\s*:/m.test(text)) section = file;
    }
    const chosen = found ?? section;
    return chosen === null ? err(`${path} has no section postgresql`) : ok(await realpath(chosen));
  }
}

/** The file as it was before. Its name is none that a folder of files is read by. */
export function keptFile(file: string, id: string): string {
  return `${file}.before-upgrade-${id}`;
}

/** With the mode and the owner of `like`. */
async function put(path: string, text: string, like: string): Promise<void> {
  const { mode, uid, gid } = await stat(like);
  await replaceEntry(path, text, mode & 0o777, { uid, gid });
}
