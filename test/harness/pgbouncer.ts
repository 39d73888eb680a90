// Owns a real PgBouncer for a test, the worker beside it as a process, and clients that write through the pool all the time. Knows the
// product only by the worker's command line and its files.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";
import { stringify } from "yaml";
import { give, type ServerUser, serverUser } from "../../lib/cli/quickstart/folder.ts";
import { killRun, membersOf, type RunMark } from "../../lib/cli/quickstart/processes.ts";
import { secretsInFiles } from "../../scripts/suite/secret-search.ts";
import type { Tree } from "./cluster-node.ts";
import { PASSWORDS } from "./passwords.ts";
import { serverPorts } from "./ports.ts";
import { ownMs } from "./stall.ts";
import { until } from "./wait.ts";

const ROOT = join(import.meta.dir, "../..");
const FETCH_WITHIN_MS = 180_000;
const STARTED_WITHIN_MS = 30_000;
/** Of admin_users; the worker's password stands in no environment and no argument. */
export const CONSOLE_USER = { username: "keeper", password: PASSWORDS.console } as const;

/** Where it was unpacked; a text says why it cannot be had. */
export interface PgbouncerProgram {
  readonly path: string;
  readonly libraries: string;
}

/** Fetches it where it is missing. */
export function findPgbouncer(): PgbouncerProgram | string {
  const fetched = spawnSync(join(ROOT, "scripts/suite/get-pgbouncer"), { encoding: "utf8", timeout: FETCH_WITHIN_MS });
  if (fetched.status !== 0) return fetched.stderr.trim().split("\n").at(-1) ?? "scripts/suite/get-pgbouncer failed";
  const folder = join(ROOT, ".cache/pgbouncer/usr");
  const architecture = readdirSync(join(folder, "lib")).find((name) => name.endsWith("-linux-gnu")) ?? "";
  return { path: join(folder, "sbin/pgbouncer"), libraries: join(folder, "lib", architecture) };
}

export interface PoolOptions {
  readonly program: PgbouncerProgram;
  /** Lines of pgbouncer.ini's own section, over the test's. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A PgBouncer in a folder of its own; its databases come from a file that a worker writes. */
export class TestPool {
  readonly folder: string;
  readonly port: number;
  readonly #program: PgbouncerProgram;
  readonly #user: ServerUser;
  readonly #mark: RunMark;
  #bouncer: ChildProcess | null = null;
  #worker: ChildProcess | null = null;

  private constructor(folder: string, port: number, program: PgbouncerProgram, user: ServerUser) {
    this.folder = folder;
    this.port = port;
    this.#program = program;
    this.#user = user;
    this.#mark = { environment: `POOL_TEST=${crypto.randomUUID()}`, folder };
  }

  /** Starts PgBouncer; the worker is started by `startWorker`. */
  static async start({ program, settings = {} }: PoolOptions): Promise<TestPool> {
    const user = serverUser();
    const folder = mkdtempSync(join(tmpdir(), "pool-"));
    give(folder, user);
    const [port = 0] = await serverPorts(1);
    const pool = new TestPool(folder, port, program, user);
    const ini: Readonly<Record<string, string>> = {
      listen_addr: "127.0.0.1",
      listen_port: String(port),
      unix_socket_dir: "",
      auth_type: "scram-sha-256",
      auth_file: pool.usersFile,
      admin_users: CONSOLE_USER.username,
      pool_mode: "transaction",
      server_login_retry: "0.2",
      logfile: pool.#path("pgbouncer.log"),
      ...settings,
    };
    const lines = Object.entries(ini).map(([name, value]) => `${name} = ${value}\n`);
    pool.write("pgbouncer.ini", `[databases]\n%include ${pool.databasesFile}\n[pgbouncer]\n${lines.join("")}`);
    pool.write("users.txt", `"${CONSOLE_USER.username}" "${CONSOLE_USER.password}"\n`);
    pool.write("databases.ini", "[databases]\n");
    await pool.startBouncer();
    return pool;
  }

  get databasesFile(): string {
    return this.#path("databases.ini");
  }

  get usersFile(): string {
    return this.#path("users.txt");
  }

  get databases(): string {
    return readFileSync(this.databasesFile, "utf8");
  }

  /** PgBouncer's own. */
  get log(): string {
    return read(this.#path("pgbouncer.log"));
  }

  get workerLog(): string {
    return read(this.#path("worker.log"));
  }

  get reloads(): number {
    return this.log.split("RELOAD command issued").length - 1;
  }

  /** The `pgbouncer` section of a worker's file. */
  section(over: Tree = {}): Tree {
    const users = { file: this.usersFile, username: "postgres", password: PASSWORDS.superuser };
    return { ...CONSOLE_USER, name: "pool1", port: this.port, databases_file: this.databasesFile, databases: ["postgres"], users, ...over };
  }

  /** Writes a file of the pool's folder, for the servers' user alone. */
  write(name: string, content: string): void {
    writeFileSync(this.#path(name), content, { mode: 0o600 });
    give(this.#path(name), this.#user);
  }

  async startBouncer(): Promise<void> {
    const child = spawn(this.#program.path, [this.#path("pgbouncer.ini")], {
      stdio: "ignore",
      detached: true,
      env: { ...this.#environment(), LD_LIBRARY_PATH: this.#program.libraries },
      ...this.#asUser(),
    });
    this.#bouncer = child;
    child.once("exit", () => {
      if (this.#bouncer === child) this.#bouncer = null;
    });
    await until("PgBouncer answers", async () => (await this.show("VERSION")).length === 1, { withinMs: STARTED_WITHIN_MS });
  }

  signalBouncer(signal: NodeJS.Signals): void {
    this.#bouncer?.kill(signal);
  }

  /** SIGKILL; resolves when it is gone. */
  async killBouncer(): Promise<void> {
    await ended(this.#bouncer);
  }

  /** Starts a worker for the cluster of that store; resolves when PgBouncer goes where it says. */
  async startWorker(options: { readonly scope: string; readonly store: Tree; readonly section?: Tree }): Promise<void> {
    this.write("pooler.yml", stringify({ scope: options.scope, ...options.store, pgbouncer: this.section(options.section) }));
    const from = this.workerLog.length;
    const log = openSync(this.#path("worker.log"), "a");
    const child = spawn(process.execPath, ["run", join(ROOT, "workers/pgbouncer.ts"), this.#path("pooler.yml")], {
      stdio: ["ignore", log, log],
      detached: true,
      env: this.#environment(),
      ...this.#asUser(),
    });
    closeSync(log);
    this.#worker = child;
    await this.untilSays(/clients go to|follows/, from);
    await until("PgBouncer has a database", async () => (await this.show("DATABASES")).length > 1, { withinMs: STARTED_WITHIN_MS });
  }

  signalWorker(signal: NodeJS.Signals): void {
    this.#worker?.kill(signal);
  }

  /** SIGKILL of the worker alone; resolves when it is gone. */
  async killWorker(): Promise<void> {
    await ended(this.#worker);
  }

  /** Waits until the worker's log holds it, from the given position on. */
  async untilSays(words: RegExp, from = 0, withinMs: number = STARTED_WITHIN_MS): Promise<void> {
    await until(`the worker says ${words}`, () => words.test(this.workerLog.slice(from)), { withinMs }).catch((error: unknown) => {
      process.stderr.write(`── worker\n${this.workerLog}── PgBouncer\n${this.log.split("\n").slice(-30).join("\n")}\n`);
      throw error;
    });
  }

  /** A table of PgBouncer's console. Throws where it does not answer. */
  async show(what: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
    return await this.command(`SHOW ${what}`);
  }

  async command(words: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const sql = this.#connect(CONSOLE_USER.username, CONSOLE_USER.password, "pgbouncer");
    try {
      return [...((await sql.unsafe(words)) as readonly Readonly<Record<string, unknown>>[])];
    } finally {
      await sql.close({ timeout: 0 });
    }
  }

  /** Whether its clients are held. */
  async isPaused(): Promise<boolean> {
    return (await this.show("DATABASES")).some(({ paused }) => Number(paused) !== 0);
  }

  /** A connection through the pool. */
  connect(): SQL {
    return this.#connect("postgres", PASSWORDS.superuser, "postgres");
  }

  /** Processes of the pool that live: PgBouncer, the worker, its guard. */
  processes(): number {
    return membersOf([], this.#mark).length;
  }

  /** Ends all of it and removes its folder. Throws where a secret stands in a file that is not meant for it, or that others may read. */
  async stop(): Promise<void> {
    const left = await killRun([], this.#mark);
    if (left.length > 0) throw new Error(`the pool could not be ended: ${JSON.stringify(left)}`);
    const leaks = await secretsInFiles(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
    if (leaks.length > 0) throw new Error(`secrets where none may be: ${leaks.join(", ")}`);
  }

  #path(name: string): string {
    return join(this.folder, name);
  }

  #environment(): Readonly<Record<string, string | undefined>> {
    const [name = "", value = ""] = this.#mark.environment.split("=");
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(PATRONI|PG|MATRIARCH)/.test(key)));
    return { ...inherited, HOME: this.folder, [name]: value };
  }

  #asUser(): { readonly uid?: number; readonly gid?: number } {
    const { uid, gid } = this.#user;
    return uid === null || gid === null ? {} : { uid, gid };
  }

  #connect(username: string, password: string, database: string): SQL {
    return new SQL({
      adapter: "postgres",
      hostname: "127.0.0.1",
      port: this.port,
      username,
      password,
      database,
      max: 1,
      connectionTimeout: 30,
      tls: false,
    });
  }
}

/** Clients that insert through the pool every few ms, each on one connection for as long as that lasts. */
export class PoolClients {
  readonly errors: { readonly at: number; readonly text: string }[] = [];
  /** `performance.now()` of each acknowledgement, and who gave it. */
  readonly acknowledged: { readonly at: number; readonly server: number }[] = [];
  readonly #pool: TestPool;
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[] = [];

  private constructor(pool: TestPool) {
    this.#pool = pool;
  }

  /** Makes the table through the pool and begins; resolves when each of them has written. */
  static async start(pool: TestPool, count = 4): Promise<PoolClients> {
    const first = pool.connect();
    await first.unsafe("create table if not exists pooled (id bigserial, at timestamptz default now())");
    await first.close({ timeout: 0 });
    const clients = new PoolClients(pool);
    for (let index = 0; index < count; index++) clients.#loops.push(clients.#write());
    await until("the clients write", () => clients.acknowledged.length >= count, { withinMs: STARTED_WITHIN_MS });
    return clients;
  }

  /** Resolves to the first acknowledgement after `since` by another server than `port`. */
  async untilServedBy(not: number, since: number, withinMs: number): Promise<number> {
    const found = await until(
      `somebody else than the server at ${not} writes`,
      () => this.acknowledged.find(({ at, server }) => at >= since && server !== not) ?? null,
      { withinMs },
    );
    return found.at;
  }

  /** The longest time that no client was answered, in ms, of those that end after `since`: as it was, and less the machine's share. */
  longestGap(since: number): { readonly ms: number; readonly ownMs: number } {
    const times = this.acknowledged.map(({ at }) => at).filter((at) => at >= since - 1000);
    let longest = { ms: 0, ownMs: 0 };
    for (let index = 1; index < times.length; index++) {
      const [from, to] = [times[index - 1] as number, times[index] as number];
      if (to >= since && to - from > longest.ms) longest = { ms: to - from, ownMs: ownMs(from, to) };
    }
    return longest;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  async #write(): Promise<void> {
    let sql = this.#pool.connect();
    while (!this.#stopping.signal.aborted) {
      try {
        const [row] = (await sql.unsafe("insert into pooled default values returning inet_server_port() as server")) as readonly {
          server: number;
        }[];
        this.acknowledged.push({ at: performance.now(), server: row?.server ?? 0 });
      } catch (error) {
        this.errors.push({ at: performance.now(), text: error instanceof Error ? error.message : String(error) });
        await sql.close({ timeout: 0 }).catch(() => undefined);
        sql = this.#pool.connect();
      }
      await Bun.sleep(10);
    }
    await sql.close({ timeout: 0 }).catch(() => undefined);
  }
}

function read(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

async function ended(child: ChildProcess | null): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}
