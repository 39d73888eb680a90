// Owns one node of a test cluster: its folder, its YAML file, its supervisor as a process of its own session, and the faults
// that can be done to it. Knows the product only by its command line, its API and its files.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { give, type ServerUser } from "../../lib/cli/quickstart/folder.ts";
import { killRun, membersOf, type ProcessId, type RunMark } from "../../lib/cli/quickstart/processes.ts";
import { SECRET_MARK } from "../../scripts/suite/secret-search.ts";
import { postgresBinDir } from "./local-server.ts";
import { PASSWORDS } from "./passwords.ts";
import { until } from "./wait.ts";

export type Tree = { [key: string]: unknown };

export interface ApiAnswer {
  readonly status: number;
  readonly text: string;
  /** Null where the body is not JSON. */
  readonly json: unknown;
}

export interface NodePlace {
  readonly name: string;
  /** Where its servers listen; 127.0.0.1 unless it has a network of its own. */
  readonly host: string;
  /** Where the other nodes reach it. */
  readonly peerHost: string;
  readonly postgresPort: number;
  readonly apiPort: number;
  /** Of its member of the Raft, where the cluster is over that. */
  readonly raftPort: number;
  /** Folder of the node, below the cluster's. */
  readonly folder: string;
  readonly user: ServerUser;
  /** In front of the supervisor's command: how to enter a network of its own. */
  readonly prefix: readonly string[];
}

/** What starts a supervisor; its words follow. MATRIARCH_TEST_EXECUTABLE: the executable that scripts/build made, in place of the source. */
function supervisorCommand(): readonly string[] {
  const executable = process.env["MATRIARCH_TEST_EXECUTABLE"] || null;
  return executable === null ? [process.execPath, "run", join(import.meta.dir, "../../workers/supervisor.ts")] : [executable, "supervisor"];
}

/** A request to an API that hangs must not hang the test. Long-running POSTs have their own. */
const API_TIMEOUT_MS = 15_000;
/** Health is asked again and again, of frozen nodes too. */
const HEALTH_TIMEOUT_MS = 3_000;

export class ClusterNode {
  readonly place: NodePlace;
  readonly configPath: string;
  readonly logPath: string;
  readonly dataDir: string;
  readonly #mark: RunMark;
  readonly #answersWithSecrets = new Set<string>();
  #child: ChildProcess | null = null;
  #exited: Promise<number> = Promise.resolve(0);

  constructor(place: NodePlace, config: Tree) {
    this.place = place;
    this.configPath = join(place.folder, "node.yml");
    this.logPath = join(place.folder, "supervisor.log");
    this.dataDir = join(place.folder, "data");
    this.#mark = { environment: `CLUSTER_TEST_NODE=${crypto.randomUUID()}`, folder: place.folder };
    mkdirSync(place.folder, { mode: 0o700 });
    give(place.folder, place.user);
    this.writeConfig(config);
  }

  get name(): string {
    return this.place.name;
  }

  get apiUrl(): string {
    return `http://${this.place.host}:${this.place.apiPort}`;
  }

  /** The supervisor's; null while it is down. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Resolves to the exit status of the last started supervisor (128 + signal where one ended it). */
  get exited(): Promise<number> {
    return this.#exited;
  }

  get log(): string {
    return existsSync(this.logPath) ? readFileSync(this.logPath, "utf8") : "";
  }

  /** Which of the answers of its API so far held one. */
  get answersWithSecrets(): readonly string[] {
    return [...this.#answersWithSecrets];
  }

  get config(): Tree {
    return parse(readFileSync(this.configPath, "utf8")) as Tree;
  }

  writeConfig(config: Tree): void {
    writeFileSync(this.configPath, stringify(config), { mode: 0o600 });
    give(this.configPath, this.place.user);
  }

  /** Changes the file; SIGHUP or POST /reload makes the node read it. */
  editConfig(change: (config: Tree) => void): void {
    const config = this.config;
    change(config);
    this.writeConfig(config);
  }

  /** Its PostgreSQL archives its WAL into that folder, and restores from it. */
  archiveInto(folder: string): void {
    this.editConfig((config) => {
      const postgresql = config["postgresql"] as Tree;
      const parameters = postgresql["parameters"] as Tree;
      parameters["archive_command"] = `mkdir -p ${folder} && cp %p ${folder}/%f.part && mv ${folder}/%f.part ${folder}/%f`;
      postgresql["recovery_conf"] = { restore_command: `cp ${folder}/%f %p` };
    });
  }

  /** Starts the supervisor, or what `prefix` makes of its command; does not wait until it serves. Throws where it runs already. */
  start(
    environment: Readonly<Record<string, string>> = {},
    prefix: readonly string[] = this.place.prefix,
    words: readonly string[] = [],
  ): void {
    if (this.#child !== null) throw new Error(`${this.name} runs already`);
    const log = openSync(this.logPath, "a");
    const [markName = "", markValue = ""] = this.#mark.environment.split("=");
    const { user } = this.place;
    const [program = "", ...args] = [...prefix, ...supervisorCommand(), ...words, this.configPath];
    // What the caller's own shell says about clusters must not reach the node.
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PATRONI|PG|MATRIARCH)/.test(name)));
    const child = spawn(program, args, {
      cwd: this.place.folder,
      detached: true,
      stdio: ["ignore", log, log],
      env: { ...inherited, HOME: this.place.folder, [markName]: markValue, ...environment },
      // A prefix enters the network as root and changes the user itself.
      ...(user.uid === null || user.gid === null || prefix.length > 0 ? {} : { uid: user.uid, gid: user.gid }),
    });
    closeSync(log);
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        if (this.#child === child) this.#child = null;
        resolve(code ?? 128 + (signal === null ? 0 : signalNumber(signal)));
      });
      child.once("error", (error) => {
        if (this.#child === child) this.#child = null;
        process.stderr.write(`${this.name} could not be started: ${error.message}\n`);
        resolve(127);
      });
    });
  }

  /** Sends a signal to the supervisor alone. */
  kill(signal: NodeJS.Signals): void {
    if (this.#child === null) throw new Error(`${this.name} is not running`);
    this.#child.kill(signal);
  }

  sigstop(): void {
    this.kill("SIGSTOP");
  }

  sigcont(): void {
    this.kill("SIGCONT");
  }

  /** SIGKILL of the supervisor alone: PostgreSQL and guard stay. */
  async killSupervisor(): Promise<void> {
    this.kill("SIGKILL");
    await this.#exited;
  }

  /** SIGTERM; resolves to the exit status. */
  async terminate(): Promise<number> {
    this.kill("SIGTERM");
    return this.#exited;
  }

  /** Supervisor, postmaster, backends and guard at once, as when the host dies. What it wrote stays. */
  async killHost(): Promise<void> {
    const left = await killRun([], this.#mark);
    if (left.length > 0) throw new Error(`${this.name} could not be killed: ${JSON.stringify(left)}`);
    if (this.#child !== null) await this.#exited;
  }

  /** Everything that runs for this node now. */
  processes(): readonly ProcessId[] {
    return membersOf([], this.#mark);
  }

  /** From postmaster.pid, where that process lives; null otherwise. */
  postmasterPid(): number | null {
    const path = join(this.dataDir, "postmaster.pid");
    if (!existsSync(path)) return null;
    const pid = Number(readFileSync(path, "utf8").split("\n")[0]);
    return this.processes().some((known) => known.pid === pid) ? pid : null;
  }

  /** SIGKILL of the postmaster alone; its backends notice by themselves. */
  killPostmaster(signal: NodeJS.Signals = "SIGKILL"): void {
    const pid = this.postmasterPid();
    if (pid === null) throw new Error(`${this.name} has no postmaster`);
    process.kill(pid, signal);
  }

  /** One request to its API. Throws where nothing answers. */
  async api(
    path: string,
    options: {
      readonly method?: string;
      readonly body?: unknown;
      readonly timeoutMs?: number;
      readonly headers?: Readonly<Record<string, string>>;
    } = {},
  ): Promise<ApiAnswer> {
    const body = options.body === undefined ? null : typeof options.body === "string" ? options.body : JSON.stringify(options.body);
    const answer = await fetch(`${this.apiUrl}${path}`, {
      method: options.method ?? "GET",
      body,
      headers: options.headers ?? {},
      // Each request its own connection: a killed supervisor's half-closed one would spoil the next.
      keepalive: false,
      signal: AbortSignal.timeout(options.timeoutMs ?? API_TIMEOUT_MS),
    });
    const text = await answer.text();
    if (text.includes(SECRET_MARK)) this.#answersWithSecrets.add(`the answer of ${this.name} to ${options.method ?? "GET"} ${path}`);
    return { status: answer.status, text, json: jsonOf(text) };
  }

  /** The status code of a health path; null where nothing answers. */
  async health(path: string): Promise<number | null> {
    return this.api(path, { timeoutMs: HEALTH_TIMEOUT_MS }).then(
      ({ status }) => status,
      () => null,
    );
  }

  /** GET /patroni. Throws where nothing answers. */
  async status(): Promise<Tree> {
    return (await this.api("/patroni")).json as Tree;
  }

  /** Waits until its log, from the given position on, holds it. */
  async untilLogs(words: string | RegExp, options: { readonly withinMs: number; readonly from?: number }): Promise<void> {
    await until(
      `"${String(words)}" in the log of ${this.name}`,
      () => {
        const text = this.log.slice(options.from ?? 0);
        return typeof words === "string" ? text.includes(words) : words.test(text);
      },
      options,
    );
  }

  /** Where a client connects as superuser. */
  get dsn(): string {
    return `postgres://postgres:${PASSWORDS.superuser}@${this.place.host}:${this.place.postgresPort}/postgres`;
  }
}

/** What every node of a test has; `extra` is laid over it. */
export function nodeConfig(options: {
  readonly place: NodePlace;
  readonly scope: string;
  /** The section of the store. */
  readonly store: Tree;
  readonly dynamic: Tree;
  readonly extra: Tree;
}): Tree {
  const { place } = options;
  const subnet = place.host === "127.0.0.1" ? "127.0.0.1/32" : "0.0.0.0/0";
  const base: Tree = {
    scope: options.scope,
    name: place.name,
    restapi: { listen: `${place.host}:${place.apiPort}`, connect_address: `${place.host}:${place.apiPort}` },
    ...options.store,
    bootstrap: {
      dcs: merged({ ttl: 20, loop_wait: 2, retry_timeout: 3, postgresql: { use_pg_rewind: true, use_slots: true } }, options.dynamic),
      initdb: [{ encoding: "UTF8" }, { locale: "C" }, "data-checksums", "no-sync"],
    },
    postgresql: {
      listen: `${place.host}:${place.postgresPort}`,
      connect_address: `${place.host}:${place.postgresPort}`,
      data_dir: join(place.folder, "data"),
      bin_dir: postgresBinDir(),
      pgpass: join(place.folder, "pgpass"),
      use_unix_socket: true,
      authentication: {
        superuser: { username: "postgres", password: PASSWORDS.superuser },
        replication: { username: "replicator", password: PASSWORDS.replication },
        rewind: { username: "rewinder", password: PASSWORDS.rewind },
      },
      pg_hba: ["local all all trust", `host all all ${subnet} scram-sha-256`, `host replication replicator ${subnet} scram-sha-256`],
      parameters: {
        unix_socket_directories: place.folder,
        fsync: "off",
        shared_buffers: "16MB",
        // A server that a test kills leaves nothing behind outside of its folder.
        dynamic_shared_memory_type: "mmap",
        // As pg_hba above wants it; the default from version 14 on.
        password_encryption: "scram-sha-256",
      },
    },
  };
  return merged(base, options.extra);
}

/** Maps are merged; anything else of `over` replaces what is there, and null removes it. */
export function merged(under: Tree, over: Tree): Tree {
  const result: Tree = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const before = result[key];
    if (value === null) delete result[key];
    else result[key] = isTree(before) && isTree(value) ? merged(before, value) : value;
  }
  return result;
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // Text answers are no JSON: the answer.
  }
}

function signalNumber(signal: NodeJS.Signals): number {
  return { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGTERM: 15 }[signal as string] ?? 0;
}
