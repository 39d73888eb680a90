// Owns the node's own file where the supervisor has to change it: the folder of PostgreSQL's programs, in a major upgrade. The file as it was
// is kept beside it. Decides nothing.

import { readFile, realpath, stat } from "node:fs/promises";
import { binDirOf, withBinDir } from "../config/bin-dir.ts";
import type { Environment } from "../config/environment.ts";
import { configFiles } from "../config/files.ts";
import { type LoadedConfig, loadNodeConfig } from "../config/load.ts";
import { err, ok, type Result } from "../model/result.ts";
import { readIfThere, reasonOf, removeFile, replaceEntry } from "../postgres/atomic-file.ts";
import { findProgram } from "../postgres/programs.ts";

export interface NodeFile {
  /** Why it cannot be changed or would not come into force; null where it can. Writes a file beside it, and removes that. */
  obstacle(binDir: string): Promise<string | null>;
  /** Names that folder in the file, keeps the file as it was, and takes it into force. Does nothing where that is so. Errors: one line. */
  usePrograms(binDir: string, id: string): Promise<Result<null, string>>;
  /** As it was before that upgrade. Does nothing where nothing was changed. Errors: one line. */
  takeBack(id: string): Promise<Result<null, string>>;
}

export interface NodeFileOptions {
  readonly path: string | null;
  readonly env: Environment;
  /** What is in force. */
  readonly loaded: () => LoadedConfig;
  /** Takes the file into force; a broken one leaves what was. */
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
      const changed = withBinDir(await readFile(file.value, "utf8"), binDir);
      if (!changed.ok) return `${file.value}: ${changed.error}`;
      // A mistake that nobody has loaded yet would keep the other programs out of force. The edit itself changes nothing but them.
      const { path, env } = this.#options;
      const loads = await loadNodeConfig({ path, env });
      if (!loads.ok) return `${path}: ${loads.error.map((wrong) => `${wrong.path}: ${wrong.message}`).join("; ")}`;
      const missing = missingNames(loads.value.config.postgresql.binName, binDir);
      if (missing.length > 0) return `postgresql.bin_name stays in force, and ${binDir} has no ${missing.join(", ")}`;
      // Rights to the file and its folder do not say whether its owner can be given to another: only doing it does.
      const tried = `${file.value}.upgrade-tried`;
      await put(tried, changed.value, file.value);
      await removeFile(tried);
      return null;
    } catch (error) {
      return `${file.value} cannot be replaced by the supervisor: ${reasonOf(error)}`;
    }
  }

  async usePrograms(binDir: string, id: string): Promise<Result<null, string>> {
    return await this.#change(async (file, text) => {
      const changed = withBinDir(text, binDir);
      if (!changed.ok) return changed;
      if (changed.value !== text && (await readIfThere(keptFile(file, id))) === null) await put(keptFile(file, id), text, file);
      return ok({ text: changed.value, inForce: binDir });
    });
  }

  async takeBack(id: string): Promise<Result<null, string>> {
    return await this.#change(async (file, text) => {
      const kept = await readIfThere(keptFile(file, id));
      if (kept === null) return ok({ text, inForce: null });
      const now = binDirOf(text);
      const before = binDirOf(kept);
      const inForce = before ?? "";
      if (now === before) return ok({ text, inForce });
      // Whatever else was changed in it since stays.
      if (before !== null) {
        const changed = withBinDir(text, before);
        return changed.ok ? ok({ text: changed.value, inForce }) : changed;
      }
      const ours = withBinDir(kept, now ?? "");
      return ours.ok && ours.value === text ? ok({ text: kept, inForce }) : err("postgresql.bin_dir has to be removed by hand");
    });
  }

  async #change(edit: (file: string, text: string) => Promise<Result<Edited, string>>): Promise<Result<null, string>> {
    const file = await this.#file();
    if (!file.ok) return file;
    try {
      const text = await readFile(file.value, "utf8");
      const edited = await edit(file.value, text);
      if (!edited.ok) return err(`${file.value}: ${edited.error}`);
      if (edited.value.text !== text) await put(file.value, edited.value.text, file.value);
      await this.#options.reload();
      const { inForce } = edited.value;
      const { binDir } = this.#options.loaded().config.postgresql;
      if (inForce === null || binDir === inForce) return ok(null);
      return err(
        `${file.value} names the programs of ${inForce || "PATH"}, and those of ${binDir || "PATH"} are in force: see the reload's errors`,
      );
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

interface Edited {
  readonly text: string;
  /** The folder of programs that has to be in force then; null where nothing was to be changed. */
  readonly inForce: string | null;
}

/** Programs with a name of their own in the file that the folder has not. */
function missingNames(binName: Readonly<Record<string, string>>, binDir: string): readonly string[] {
  return Object.keys(binName)
    .filter((program) => findProgram({ binDir, binName }, program) === null)
    .map((program) => `${binName[program]} (${program})`);
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
