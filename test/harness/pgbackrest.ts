// Owns running pgBackRest for the nodes of a test cluster: a repository that all of them share, a configuration file for each, and what
// of a node's file names them. Knows the product by its configuration and its program `backrest`.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { give, serverUser } from "../../lib/cli/quickstart/folder.ts";
import { type ClusterOptions, TestCluster } from "./cluster.ts";
import type { ClusterNode, Tree } from "./cluster-node.ts";
import { until } from "./wait.ts";

const ROOT = join(import.meta.dir, "../..");
const FETCH_WITHIN_MS = 120_000;
const SECOND_OVER_WITHIN_MS = 20_000;
const ARCHIVED_WITHIN_MS = 120_000;
/** In memory: pgBackRest waits for the disk with each of a thousand files. */
const MEMORY = "/dev/shm";

export interface BackedUp {
  readonly cluster: TestCluster;
  readonly repository: TestRepository;
}

/** Why pgBackRest cannot be had here, which is told on stderr once; null where it can. For describe.skipIf. */
export function pgBackRestMissing(): string | null {
  const found = findPgBackRest();
  if (!("missing" in found)) return null;
  process.stderr.write(`skipped, for pgBackRest cannot be had: ${found.missing}\n`);
  return found.missing;
}

/** A shared cluster, started, whose nodes have one repository: TestCluster.stopAll and `remove` in afterAll end both. Throws where pgBackRest cannot be had. */
export async function backedUpCluster(options: Omit<ClusterOptions, "start">): Promise<BackedUp> {
  const found = findPgBackRest();
  if ("missing" in found) throw new Error(found.missing);
  const repository = new TestRepository(found.path);
  const cluster = await TestCluster.shared({ ...options, start: false });
  for (const node of cluster.nodes) {
    repository.equip(node);
    node.start();
  }
  return { cluster, repository };
}

/** Path of the program, fetched where it is missing; `missing` says why it cannot be had. */
export function findPgBackRest(): { readonly path: string } | { readonly missing: string } {
  const fetched = spawnSync(join(ROOT, "scripts/suite/get-pgbackrest"), { encoding: "utf8", timeout: FETCH_WITHIN_MS });
  if (fetched.status === 0) return { path: fetched.stdout.trim() };
  return { missing: fetched.stderr.trim().split("\n").at(-1) ?? "scripts/suite/get-pgbackrest failed" };
}

export class TestRepository {
  readonly folder: string;
  readonly program: string;
  readonly stanza: string;

  constructor(program: string, stanza = "demo") {
    this.program = program;
    this.stanza = stanza;
    this.folder = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "repository-"));
    give(this.folder, serverUser());
  }

  get config(): Tree {
    return { stanza: this.stanza, command: this.program };
  }

  /** Writes the node's configuration of pgBackRest, with lines of the caller's, and adds what its own file needs; the node must not run yet. */
  equip(
    node: ClusterNode,
    more: { readonly global: readonly string[]; readonly stanza: readonly string[] } = { global: [], stanza: [] },
  ): void {
    const file = this.configOf(node);
    const backrest = `${process.execPath} run ${join(ROOT, "scripts/backrest.ts")} ${node.configPath}`;
    const pgbackrest = `${this.program} --config=${file} --stanza=${this.stanza}`;
    const folders = ["lock", "spool"].map((name) => join(node.place.folder, name));
    for (const folder of folders) {
      mkdirSync(folder, { recursive: true });
      give(folder, node.place.user);
    }
    const [lock = "", spool = ""] = folders;
    const sections = {
      global: {
        "repo1-path": join(this.folder, "repo"),
        "repo1-bundle": "y",
        "repo1-retention-full": "2",
        "lock-path": lock,
        "spool-path": spool,
        "log-level-console": "warn",
        "log-level-file": "off",
        "start-fast": "y",
      },
      [this.stanza]: {
        "pg1-path": node.dataDir,
        "pg1-port": String(node.place.postgresPort),
        "pg1-socket-path": node.place.folder,
        "pg1-user": "postgres",
      },
    };
    const lines = (name: string, options: Readonly<Record<string, string>>, added: readonly string[]) =>
      [`[${name}]`, ...Object.entries(options).map(([key, value]) => `${key}=${value}`), ...added, ""].join("\n");
    const { [this.stanza]: stanza = {}, global = {} } = sections;
    writeFileSync(file, `${lines("global", global, more.global)}\n${lines(this.stanza, stanza, more.stanza)}`, { mode: 0o640 });
    give(file, node.place.user);
    node.editConfig((config) => {
      const [bootstrap, postgresql] = [config["bootstrap"] as Tree, config["postgresql"] as Tree];
      // In the node's own file, for each has a configuration of pgBackRest of its own here.
      postgresql["recovery_conf"] = { restore_command: `${pgbackrest} archive-get %f "%p"` };
      Object.assign(postgresql["parameters"] as Tree, { archive_mode: "on", archive_command: `${pgbackrest} archive-push %p` });
      config["pgbackrest"] = { ...this.config, config: file };
      bootstrap["post_bootstrap"] ??= `${backrest} stanza`;
      postgresql["callbacks"] = { on_role_change: `${backrest} stanza` };
      postgresql["create_replica_methods"] = ["pgbackrest", "basebackup"];
      postgresql["pgbackrest"] = { command: `${backrest} restore`, no_leader: true };
    });
  }

  configOf(node: ClusterNode): string {
    return join(node.place.folder, "pgbackrest.conf");
  }

  /** One command of pgBackRest on a node, as the user of the servers. Throws with what it said. */
  run(node: ClusterNode, ...words: readonly string[]): string {
    const { uid, gid } = serverUser();
    const done = spawnSync(this.program, [`--config=${this.configOf(node)}`, `--stanza=${this.stanza}`, ...words], {
      cwd: "/",
      encoding: "utf8",
      ...(uid === null || gid === null ? {} : { uid, gid }),
    });
    if (done.status !== 0) throw new Error(`pgbackrest ${words.join(" ")}: ${done.status} ${done.stderr}${done.stdout}`);
    return done.stdout;
  }

  /** Takes a backup, and waits until the second in which it ended is over: pgBackRest counts whole ones, and what is committed now is behind it. */
  async backUp(node: ClusterNode, type: "full" | "incr"): Promise<void> {
    this.run(node, `--type=${type}`, "backup");
    const [stanza] = JSON.parse(this.run(node, "--output=json", "info")) as [{ backup: { timestamp: { stop: number } }[] }];
    const stoppedAt = stanza.backup.at(-1)?.timestamp.stop ?? 0;
    await until("the second of the backup is over", () => Date.now() >= (stoppedAt + 1) * 1000, { withinMs: SECOND_OVER_WITHIN_MS });
  }

  /** Until what is committed by now is in the archive: a primary that has to stop in a hurry leaves its last segment behind. */
  async archive(cluster: TestCluster, node: ClusterNode): Promise<void> {
    const [row] = await cluster.sql<{ file: string }>(node, "SELECT pg_walfile_name(pg_switch_wal()) AS file");
    const query = `SELECT last_archived_wal COLLATE "C" >= '${row?.file}' AS done FROM pg_stat_archiver`;
    const archived = async () => (await cluster.sql<{ done: boolean | null }>(node, query))[0]?.done === true;
    await until(`segment ${row?.file} is archived`, archived, { withinMs: ARCHIVED_WITHIN_MS });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
