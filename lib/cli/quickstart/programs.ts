// Owns finding the programs that a quickstart runs: the supervisor (Bun and a script, or this executable), Consul, PostgreSQL. When root's checkout cannot
// be read by the server user (it is below /root, say), the product is copied into the run's folder. It installs nothing.

import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import * as v from "valibot";
import { PRODUCT_FORM } from "../../model/product-place.ts";
import type { ServerUser } from "./folder.ts";

export interface Programs {
  /** What starts the supervisor; a node's file follows. */
  readonly supervisor: readonly [string, ...string[]];
  /** Null: this run needs none. */
  readonly consul: string | null;
  /** Folder of postgres, initdb, pg_basebackup … */
  readonly postgresBin: string;
}

const SUPERVISOR = "workers/supervisor.ts";

/** Majors of PostgreSQL that are supported. */
const postgresMajors = { oldest: 13, newest: 18 } as const;

const LockSchema = v.object({ packages: v.record(v.string(), v.looseObject({ dev: v.optional(v.boolean()) })) });

/** Throws Error naming what is missing; `scripts/setup` installs it. */
export function findPrograms(options: {
  /** The folder that holds workers/ and lib/; null: all is inside this executable. */
  readonly product: string | null;
  readonly copyTo: string;
  readonly user: ServerUser;
  readonly store: "raft" | "consul";
}): Programs {
  const { product, copyTo, user } = options;
  const consul = options.store === "consul" ? findConsul(product) : null;
  const postgresBin = findPostgres();
  const program = process.execPath;
  const script = product === null ? null : join(product, SUPERVISOR);
  if (script !== null && !existsSync(script)) throw new Error(`${script} is missing`);
  const paths = [program, ...(script === null ? [] : [script]), ...(consul === null ? [] : [consul])];
  if (paths.every((path) => canRead(path, user))) return { supervisor: supervisorOf(program, script), consul, postgresBin };
  mkdirSync(copyTo, { recursive: true, mode: 0o755 });
  if (product !== null) copyProduct(product, copyTo);
  const copies = { program: join(copyTo, basename(program)), consul: consul === null ? null : join(copyTo, "consul") };
  linkOrCopy(program, copies.program);
  if (consul !== null && copies.consul !== null) linkOrCopy(consul, copies.consul);
  const copiedScript = product === null ? null : join(copyTo, SUPERVISOR);
  return { supervisor: supervisorOf(copies.program, copiedScript), consul: copies.consul, postgresBin };
}

/** `program` is Bun, or, without a script, the product's executable. */
function supervisorOf(program: string, script: string | null): readonly [string, ...string[]] {
  return script === null ? [program, "supervisor"] : [program, "run", script];
}

function findConsul(product: string | null): string {
  const here = product === null ? null : join(product, ".cache/consul/usr/bin/consul");
  const found = here !== null && existsSync(here) ? here : Bun.which("consul");
  if (found === null) throw new Error(`there is no consul; ${remedy("put one into PATH, or do without --consul")}`);
  return found;
}

/** The newest supported PostgreSQL in the places where distributions put it, or the one in PATH. Throws Error without one. */
export function findPostgres(): string {
  const roots = ["/usr/lib/postgresql", "/usr"];
  const folders = roots.flatMap((root) => {
    const names = existsSync(root) ? readdirSync(root) : [];
    return names.flatMap((name) => {
      const major = Number(/^(?:pgsql-)?(\d+)$/.exec(name)?.[1] ?? Number.NaN);
      const known = major >= postgresMajors.oldest && major <= postgresMajors.newest;
      const folder = join(root, name, "bin");
      return known && existsSync(join(folder, "postgres")) ? [{ major, folder }] : [];
    });
  });
  const newest = folders.sort((a, b) => b.major - a.major)[0]?.folder;
  const inPath = Bun.which("postgres");
  const found = newest ?? (inPath === null ? null : dirname(inPath));
  const wanted = `PostgreSQL ${postgresMajors.oldest} to ${postgresMajors.newest}`;
  if (found === null) throw new Error(`there is no ${wanted}; ${remedy("install one (Debian: apt install postgresql)")}`);
  return found;
}

/** Beside an executable there is no scripts/setup. */
function remedy(byHand: string): string {
  return PRODUCT_FORM === "executable" ? byHand : "run scripts/setup";
}

/** Where the servers may read the product: without a copy that is where it is. */
function canRead(path: string, user: ServerUser): boolean {
  if (user.uid === null || user.gid === null) return true;
  return spawnSync("test", ["-r", path], { uid: user.uid, gid: user.gid, cwd: "/" }).status === 0;
}

function copyProduct(product: string, copyTo: string): void {
  const lock = v.parse(LockSchema, JSON.parse(readFileSync(join(product, "package-lock.json"), "utf8")));
  const packages = Object.keys(lock.packages).filter(
    (path) =>
      path.startsWith("node_modules/") &&
      lock.packages[path]?.dev !== true &&
      !/^node_modules\/(bun$|@oven\/|typescript$|@typescript\/)/.test(path),
  );
  for (const path of ["lib", "workers", "package.json", "bunfig.toml", "tsconfig.json", ...packages]) {
    if (existsSync(join(product, path))) cpSync(join(product, path), join(copyTo, path), { recursive: true });
  }
  // The copies may have been made under a strict umask.
  const opened = spawnSync("chmod", ["-R", "a+rX", copyTo], { encoding: "utf8" });
  if (opened.status !== 0) throw new Error(`cannot open ${copyTo} to the server user: ${opened.stderr}`);
}

/** A link costs no space; across file systems it is a copy. */
function linkOrCopy(from: string, to: string): void {
  if (existsSync(to)) return;
  try {
    linkSync(from, to);
  } catch (error) {
    if (!["EXDEV", "EPERM", "EMLINK"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    copyFileSync(from, to);
    chmodSync(to, 0o755);
  }
}
