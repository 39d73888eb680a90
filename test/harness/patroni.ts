// Owns running Patroni and patronictl beside our nodes: where they are, how they are called, and how a node of a test cluster
// becomes one of Patroni's. Knows nothing of the product but that both read the same node file.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serverUser } from "../../lib/cli/quickstart/folder.ts";
import type { TestCluster } from "./cluster.ts";

const ROOT = join(import.meta.dir, "../..");
const PYTHON = "/usr/bin/python3";
const FETCH_WITHIN_MS = 180_000;

export interface Patroni {
  readonly version: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Fetches it where it is missing; a text says why it cannot be had. */
export function findPatroni(): Patroni | string {
  const fetched = spawnSync(join(ROOT, "scripts/suite/get-patroni"), { encoding: "utf8", timeout: FETCH_WITHIN_MS });
  if (fetched.status !== 0) return fetched.stderr.trim().split("\n").at(-1) ?? "scripts/suite/get-patroni failed";
  const folder = join(ROOT, ".cache/patroni");
  if (!existsSync(join(folder, "version"))) return `${folder} holds no Patroni`;
  return {
    version: readFileSync(join(folder, "version"), "utf8").trim(),
    environment: { PYTHONPATH: join(folder, "usr/lib/python3/dist-packages"), PYTHONDONTWRITEBYTECODE: "1", LC_ALL: "C.UTF-8" },
  };
}

/** In front of a node's command: Patroni is started instead, with the same node file. */
export function insteadOfOurs(patroni: Patroni): readonly string[] {
  const { uid, gid } = serverUser();
  const asUser = uid === null ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
  const environment = Object.entries(patroni.environment).map(([name, value]) => `${name}=${value}`);
  // What follows is `bun run SUPERVISOR FILE`: $0 to $3.
  return [...asUser, "env", ...environment, "sh", "-c", `exec ${PYTHON} -m patroni "$3"`];
}

/** `patroni --generate-sample-config` */
export function sampleConfig(patroni: Patroni): string {
  const made = spawnSync(PYTHON, ["-m", "patroni", "--generate-sample-config"], {
    encoding: "utf8",
    env: { ...process.env, ...patroni.environment },
  });
  if (made.status !== 0) throw new Error(`patroni --generate-sample-config: ${made.stderr}`);
  return made.stdout;
}

export interface CtlAnswer {
  readonly status: number | null;
  /** stdout and stderr. */
  readonly text: string;
}

/** patronictl against the Consul of a test cluster. */
export class Patronictl {
  readonly #patroni: Patroni;
  readonly #config: string;

  constructor(patroni: Patroni, cluster: TestCluster) {
    this.#patroni = patroni;
    this.#config = join(cluster.folder, "patronictl.yml");
    writeFileSync(this.#config, `scope: ${cluster.scope}\nconsul: {url: "${cluster.consul.url}"}\n`);
  }

  async run(...args: readonly string[]): Promise<CtlAnswer> {
    const start = "from patroni.ctl import ctl; ctl(obj={})";
    const child = Bun.spawn([PYTHON, "-c", start, "-c", this.#config, ...args], {
      cwd: "/",
      env: { ...process.env, ...this.#patroni.environment },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return { status: await child.exited, text: `${out}${err}` };
  }

  /** Rows of `list -f json`, with Patroni's own column names. */
  async list(): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const { status, text } = await this.run("list", "-f", "json");
    if (status !== 0) throw new Error(`patronictl list: ${text}`);
    return JSON.parse(text) as readonly Readonly<Record<string, unknown>>[];
  }
}
