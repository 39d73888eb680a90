// Owns small real servers for integration tests: a configuration, initdb, a standby by pg_basebackup, and their end.
// Runs as the unprivileged user that the server needs (unprivileged.ts).

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PostgresqlConfig } from "../../lib/model/node-config.ts";
import { ms } from "../../lib/model/units.ts";
import { LocalPostgresql } from "../../lib/postgres/local.ts";
import { directoryIdentity, sendSignal, serverProcesses } from "../../lib/postgres/processes.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { type RecordingLog, recordingLog } from "./recording-log.ts";
import { releaseSharedMemory } from "./shared-memory.ts";

export interface LocalServer {
  readonly name: string;
  readonly dataDir: string;
  readonly port: number;
  readonly config: PostgresqlConfig;
  readonly postgresql: LocalPostgresql;
  readonly log: RecordingLog;
}

export const clock = realClock();

/** MATRIARCH_TEST_POSTGRES_BIN, else the newest installed version's programs: Debian's folders, else PATH. */
export function postgresBinDir(): string {
  const chosen = process.env["MATRIARCH_TEST_POSTGRES_BIN"];
  if (chosen !== undefined && chosen !== "") return chosen;
  const root = "/usr/lib/postgresql";
  const versions = existsSync(root) ? readdirSync(root).map(Number).filter(Number.isInteger) : [];
  versions.sort((left, right) => right - left);
  const found = versions.map((version) => join(root, String(version), "bin")).find((folder) => existsSync(join(folder, "initdb")));
  return found ?? "";
}

/** Of the programs in that folder. Throws where they do not run. */
export function majorOf(binDir: string): number {
  const said = execFileSync(binDir === "" ? "postgres" : join(binDir, "postgres"), ["--version"], { encoding: "utf8" });
  return Number(/\(PostgreSQL\) (\d+)/.exec(said)?.[1] ?? Number.NaN);
}

export function serverConfig(folder: string, name: string, port: number): PostgresqlConfig {
  const user = { username: "postgres", password: null, options: {} };
  const dataDir = join(folder, name);
  return {
    listenHosts: ["127.0.0.1"],
    port,
    connectAddress: { host: "127.0.0.1", port },
    proxyAddress: null,
    dataDir,
    configDir: dataDir,
    binDir: postgresBinDir(),
    binName: {},
    pgpass: join(folder, `${name}.pgpass`),
    useUnixSocket: true,
    useUnixSocketRepl: false,
    superuser: user,
    replication: user,
    rewind: user,
    // Shared memory inside the data directory: a server that a test kills leaves nothing behind elsewhere.
    parameters: { unix_socket_directories: folder, fsync: "off", dynamic_shared_memory_type: "mmap" },
    controlledParameters: {
      max_connections: "100",
      max_locks_per_transaction: "64",
      max_worker_processes: "8",
      max_prepared_transactions: "0",
      max_wal_senders: "10",
      max_replication_slots: "10",
      wal_keep_size: "128MB",
      wal_level: "replica",
      track_commit_timestamp: "off",
      wal_log_hints: "on",
    },
    parametersPrimary: {},
    parametersReplica: {},
    parametersStandbyLeader: {},
    pgHba: ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
    pgHbaByRole: {},
    pgIdent: null,
    pgIdentByRole: {},
    recoveryConf: {},
    standbyCluster: null,
    citus: null,
    customConf: null,
    callbacks: {},
    createReplicaMethods: ["basebackup"],
    methodOptions: {},
    basebackup: [],
    beforeStop: null,
    prePromote: null,
    useSlots: true,
    enforcesFeedback: false,
    usePgRewind: true,
    rewindOptions: [],
    removeDataDirectoryOnRewindFailure: false,
    removeDataDirectoryOnDivergedTimelines: false,
    pgCtlTimeoutMs: ms(60_000),
  };
}

/** Another supervisor's view of the same server: as after a restart of the supervisor. */
export function supervisorOf(config: PostgresqlConfig, name: string): LocalServer {
  const log = recordingLog();
  const postgresql = new LocalPostgresql({ config, name, scope: "demo", clock, log });
  return { name, dataDir: config.dataDir, port: config.port, config, postgresql, log };
}

/** A data directory made by initdb; not started. */
export function newServer(folder: string, name: string, port: number, change: Partial<PostgresqlConfig> = {}): LocalServer {
  const config = { ...serverConfig(folder, name, port), ...change };
  mkdirSync(config.dataDir, { mode: 0o700 });
  program(config, "initdb", ["-D", config.dataDir, "-U", "postgres", "-A", "trust", "--no-sync", "--data-checksums"]);
  return supervisorOf(config, name);
}

/** A copy of a running server; not started. */
export function newStandby(folder: string, name: string, port: number, source: LocalServer): LocalServer {
  const config = serverConfig(folder, name, port);
  program(config, "pg_basebackup", [
    "-D",
    config.dataDir,
    "-h",
    "127.0.0.1",
    "-p",
    String(source.port),
    "-U",
    "postgres",
    "-X",
    "stream",
    "--no-sync",
    "-c",
    "fast",
  ]);
  return supervisorOf(config, name);
}

/** A directory that is not PostgreSQL's. */
export function foreignDirectory(folder: string, name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, "thesis.txt"), "ten years of work");
  return path;
}

export function program(config: PostgresqlConfig, name: string, args: readonly string[]): string {
  return execFileSync(config.binDir === "" ? name : join(config.binDir, name), [...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Ends whatever runs in the directory and removes it: for the end of a test, however it ended. */
export async function discard(server: LocalServer): Promise<void> {
  const directory = directoryIdentity(server.dataDir);
  for (const left of directory === null ? [] : serverProcesses(directory)) {
    // One may have ended since it was seen.
    sendSignal(left, "SIGCONT");
    sendSignal(left, "SIGKILL");
  }
  // Until its files are closed, its port is taken.
  while (directory !== null && serverProcesses(directory).length > 0) await Bun.sleep(1);
  await server.postgresql.close();
  releaseSharedMemory(server.dataDir);
  rmSync(server.dataDir, { recursive: true, force: true });
}

export function within(milliseconds: number) {
  return ms(clock.now() + milliseconds);
}
