// Owns members of a Raft as real processes without PostgreSQL (workers/raft-node.ts), their faults, and a client of them that
// writes all the time. Judges nothing: what was acknowledged and what is there is for the test to compare.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AskedMember, askEveryone, askLeader, type MembersLink, statusesOf } from "../../lib/cli/raft/conversation.ts";
import { openMembersLink } from "../../lib/cli/raft/members-link.ts";
import { openRaft } from "../../lib/dcs/open-raft.ts";
import type { ClientRequest, RaftStatus } from "../../lib/dcs/raft/kv/client-protocol.ts";
import { clientConfig, parseRaftUrl } from "../../lib/dcs/raft/url.ts";
import type { Store } from "../../lib/dcs/store.ts";
import type { RaftConfig } from "../../lib/model/node-config.ts";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { serverPorts } from "./ports.ts";
import { recordingLog } from "./recording-log.ts";
import { RAFT_PASSWORD, type RaftAddress } from "./store-sight.ts";
import { until } from "./wait.ts";

const WORKER = join(import.meta.dir, "../../workers/raft-node.ts");
const ANSWER_MAX_MS = 10_000;
const LOG_TAIL = 30;
const running = new Set<RaftProcesses>();

export class RaftProcess {
  readonly address: string;
  readonly folder: string;
  readonly logPath: string;
  readonly #partners: () => readonly string[];
  readonly #prefix: readonly string[];
  #child: ChildProcess | null = null;
  #exited: Promise<number> = Promise.resolve(0);

  /** `prefix`: in front of the command. */
  constructor(options: {
    readonly address: string;
    readonly folder: string;
    readonly partners: () => readonly string[];
    readonly prefix?: readonly string[];
  }) {
    this.address = options.address;
    this.folder = options.folder;
    this.logPath = `${options.folder}.log`;
    this.#partners = options.partners;
    this.#prefix = options.prefix ?? [];
  }

  get running(): boolean {
    return this.#child !== null;
  }

  get place(): RaftAddress {
    const [host = "", port] = this.address.split(":");
    return { host, raftPort: Number(port) };
  }

  /** Resolves to the exit status of the last started process. */
  get exited(): Promise<number> {
    return this.#exited;
  }

  get log(): string {
    return existsSync(this.logPath) ? readFileSync(this.logPath, "utf8") : "";
  }

  /** Its whole configuration, as variables, and what of this process's own says nothing about clusters. */
  get environment(): Readonly<Record<string, string>> {
    const inherited = Object.entries(process.env).flatMap(([name, value]) =>
      value === undefined || /^(PATRONI|MATRIARCH)/.test(name) ? [] : [[name, value] as const],
    );
    return {
      ...Object.fromEntries(inherited),
      PATRONI_RAFT_SELF_ADDR: this.address,
      PATRONI_RAFT_PARTNER_ADDRS: this.#partners()
        .map((address) => `'${address}'`)
        .join(","),
      PATRONI_RAFT_DATA_DIR: this.folder,
      PATRONI_RAFT_PASSWORD: RAFT_PASSWORD,
    };
  }

  /** Configured by variables alone. Throws where it runs already. */
  start(environment: Readonly<Record<string, string>> = {}): void {
    if (this.#child !== null) throw new Error(`${this.address} runs already`);
    const log = openSync(this.logPath, "a");
    const [program = "", ...words] = [...this.#prefix, process.execPath, "run", WORKER];
    const child = spawn(program, words, { stdio: ["ignore", log, log], env: { ...this.environment, ...environment } });
    closeSync(log);
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once("exit", (code) => {
        if (this.#child === child) this.#child = null;
        resolve(code ?? 128);
      });
    });
  }

  /** Stands still with SIGSTOP, goes on with SIGCONT. */
  signal(name: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(name);
  }

  /** SIGKILL; what it wrote stays. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#exited;
  }

  /** SIGTERM; resolves to the exit status. */
  async terminate(): Promise<number> {
    this.#child?.kill("SIGTERM");
    return this.#exited;
  }

  /** Its disk is lost. Only while it is down. */
  wipe(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class RaftProcesses {
  readonly members: RaftProcess[] = [];
  readonly #top: string;
  readonly #stores: Store[] = [];
  #link: MembersLink | null = null;

  private constructor(top: string) {
    this.#top = top;
    running.add(this);
  }

  /** Makes the members of one list; starts none. */
  static async make(count: number): Promise<RaftProcesses> {
    const raft = new RaftProcesses(mkdtempSync(join(tmpdir(), "raft-processes-")));
    const addresses = (await serverPorts(count)).map((port) => `127.0.0.1:${port}`);
    for (const address of addresses) raft.#add(address, () => addresses.filter((other) => other !== address));
    return raft;
  }

  /** A member more, whose partners are those that are there; not started. */
  async another(address: string | null = null): Promise<RaftProcess> {
    const partners = this.members.map((member) => member.address).filter((other) => other !== address);
    const own = address ?? `127.0.0.1:${(await serverPorts(1))[0]}`;
    return this.#add(own, () => partners);
  }

  /** For afterAll. */
  static async stopAll(): Promise<void> {
    for (const raft of [...running]) await raft.stop();
  }

  /** When `body` fails, the end of each member's log is printed; the members end with it. */
  async during<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      for (const { address, log } of this.members) {
        process.stderr.write(`── ${address}\n${log.trimEnd().split("\n").slice(-LOG_TAIL).join("\n")}\n`);
      }
      throw error;
    } finally {
      await this.stop();
    }
  }

  /** A client of its own; closed with the members. */
  client(): Store {
    const store = openRaft(this.#section(), { clock: realClock(), log: recordingLog() });
    this.#stores.push(store);
    return store;
  }

  async statuses(): Promise<readonly RaftStatus[]> {
    const addresses = this.members.filter((member) => member.running).map(({ address }) => address);
    return statusesOf(await askEveryone(this.#asking(), addresses, this.#within()));
  }

  /**
   * Waits until one member leads and `count` voters serve, all of one cluster, and no change of the members is under way: each of them
   * has the same list. Who loses another member before has lost a majority of the former list. Resolves to the leader. Throws where there
   * are two clusters.
   */
  async untilServing(count: number, withinMs = 60_000): Promise<RaftProcess> {
    return until(
      `${count} voters serve`,
      async () => {
        const statuses = await this.statuses();
        const clusters = new Set(statuses.flatMap(({ cluster }) => cluster ?? []));
        if (clusters.size > 1) throw new Error(`two clusters: ${[...clusters].join(", ")}`);
        const leader = statuses.find(({ role }) => role === "leader");
        const lists = statuses.map(({ members }) => JSON.stringify(members.map(({ id, part }) => [id, part]).sort()));
        const settled = new Set(lists).size === 1 && leader?.members.every(({ part }) => part === "voter");
        const voters = leader?.members.map(({ id }) => id) ?? [];
        const serving = statuses.filter(({ state, member }) => settled && state === "serving" && voters.includes(member.id));
        if (voters.length !== count || serving.length !== count) {
          throw new Error(statuses.map((one) => `${one.member.address} ${one.state} ${one.role} ${one.detail ?? ""}`).join("; "));
        }
        return this.members.find(({ address, running: lives }) => lives && address === leader?.member.address);
      },
      { withinMs, everyMs: 50 },
    );
  }

  /** One question of an operator, to whoever leads. */
  ask(request: ClientRequest): Promise<AskedMember> {
    const addresses = this.members.filter((member) => member.running).map(({ address }) => address);
    return askLeader(this.#asking(), { addresses, request, deadline: this.#within(60_000) });
  }

  async stop(): Promise<void> {
    if (!running.delete(this)) return;
    await Promise.all(this.#stores.map((store) => store.close()));
    await this.#link?.close();
    await Promise.all(this.members.map((member) => member.kill()));
    rmSync(this.#top, { recursive: true, force: true });
  }

  #add(address: string, partners: () => readonly string[]): RaftProcess {
    const folder = join(this.#top, `${this.members.length}`, "raft");
    mkdirSync(join(folder, ".."), { recursive: true });
    const member = new RaftProcess({ address, folder, partners });
    this.members.push(member);
    return member;
  }

  #section(): RaftConfig {
    const parsed = parseRaftUrl(`raft://${this.members.map(({ address }) => address).join(",")}`);
    if (!parsed.ok) throw new Error(parsed.error.message);
    return { ...clientConfig(parsed.value, null), password: RAFT_PASSWORD };
  }

  /** Made anew for each look: a connection to a killed member is no connection to its successor. */
  #asking(): MembersLink {
    void this.#link?.close();
    const link = openMembersLink(this.#section(), { clock: realClock(), log: recordingLog() });
    if (!link.ok) throw new Error(link.error.message);
    this.#link = link.value;
    return link.value;
  }

  #within(time = ANSWER_MAX_MS): ReturnType<typeof ms> {
    return ms(realClock().now() + time);
  }
}

/** Nothing is judged by it but that a write comes through at all. */
const WRITE_WITHIN_MS = 60_000;

/** Writers that put a new key one after the other; a write that fails is repeated until it is confirmed. */
export class KeyWriters {
  /** Keys that were acknowledged. */
  readonly acknowledged = new Set<string>();
  /** How often a first attempt failed. */
  repeated = 0;
  /** Writes that no repetition has mended in time. */
  readonly lost: string[] = [];
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[];

  constructor(stores: readonly Store[], prefix: string) {
    this.#loops = stores.map((store, index) => this.#write(store, `${prefix}${index}/`));
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  /** Resolves after so many more acknowledged writes. */
  async more(count: number, withinMs = WRITE_WITHIN_MS): Promise<void> {
    const from = this.acknowledged.size;
    await until(`${count} more writes`, () => this.acknowledged.size >= from + count, { withinMs, everyMs: 5 });
  }

  async #write(store: Store, prefix: string): Promise<void> {
    const clock = realClock();
    for (let number = 0; !this.#stopping.signal.aborted; number++) {
      const key = `${prefix}${number}`;
      const end = clock.now() + WRITE_WITHIN_MS;
      for (let attempt = 0; ; attempt++) {
        const written = await store.put(key, key, { deadline: ms(Math.min(end, clock.now() + 3_000)) });
        if (written.ok) {
          this.acknowledged.add(key);
          break;
        }
        if (attempt === 0) this.repeated += 1;
        if (this.#stopping.signal.aborted) return;
        if (clock.now() >= end) {
          this.lost.push(`${key}: ${JSON.stringify(written.error)}`);
          break;
        }
        await Bun.sleep(10);
      }
    }
  }
}
