// Owns the doctor's look at PostgreSQL: programs and versions, the data directory, and, where a server runs here, the parameters that
// replication, pg_rewind and slots stand on. Asks only.

import { spawnSync } from "node:child_process";
import type { Clock } from "../../model/clock.ts";
import { type Finding, fault, fine, unknown, warning } from "../../model/finding.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { ms } from "../../model/units.ts";
import { Connection, localEndpoint } from "../../postgres/connection.ts";
import { inspectDataDirectory, readPostmasterPid } from "../../postgres/data-directory.ts";
import { programPath } from "../../postgres/programs.ts";
import { runLockOwner, runLockPath } from "../../runtime/run-lock.ts";

const OLDEST_MAJOR = 13;
const NEWEST_MAJOR = 18;
const ANSWERS_WITHIN_MS = 5_000;

/** Whether a supervisor of this node runs. */
export function supervisorFinding(config: NodeConfig): Finding {
  const owner = runLockOwner(runLockPath(config.postgresql.dataDir));
  if (owner === null) return unknown("supervisor", "none of this node runs now");
  return fine(
    "supervisor",
    owner.worker === null ? `runs as process ${owner.pid}` : `the worker ${owner.worker} runs alone as process ${owner.pid}`,
  );
}

export async function serverFindings(config: NodeConfig, clock: Clock): Promise<readonly Finding[]> {
  const version = installedMajor(config);
  if (typeof version !== "number") return [version];
  const data = await inspectDataDirectory(config.postgresql.dataDir);
  const findings: Finding[] = [];
  if (version < OLDEST_MAJOR || version > NEWEST_MAJOR)
    findings.push(
      fault(
        "postgresql",
        `version ${version} is installed`,
        `install PostgreSQL ${OLDEST_MAJOR} to ${NEWEST_MAJOR} and name it in postgresql.bin_dir`,
      ),
    );
  else findings.push(fine("postgresql", `version ${version} is installed`));
  if (data.kind === "valid" && data.majorVersion !== version)
    findings.push(
      fault(
        "postgresql",
        `the data is of version ${data.majorVersion}`,
        `write postgresql.bin_dir: /usr/lib/postgresql/${data.majorVersion}/bin, or upgrade the data with pg_upgrade`,
      ),
    );
  return [...findings, ...(await runningServer(config, clock))];
}

function installedMajor(config: NodeConfig): number | Finding {
  const program = programPath(config.postgresql, "postgres");
  const ran = spawnSync(program, ["--version"], { encoding: "utf8" });
  const major = Number(/\(PostgreSQL\) (\d+)/.exec(ran.stdout ?? "")?.[1] ?? Number.NaN);
  if (!Number.isNaN(major)) return major;
  return fault(
    "postgresql",
    `${program} cannot be run: ${ran.error?.message ?? (ran.stderr || "it does not say its version").trim()}`,
    "write postgresql.bin_dir: /usr/lib/postgresql/VERSION/bin",
  );
}

/** What the parameters have to be; `at` is how they are now. */
async function runningServer(config: NodeConfig, clock: Clock): Promise<readonly Finding[]> {
  const { postgresql } = config;
  const pidFile = await readPostmasterPid(postgresql.dataDir);
  if (pidFile === null) return [unknown("postgresql", "no server runs here now: its parameters are looked at once it does")];
  const connection = new Connection({ clock, endpoint: async () => localEndpoint(postgresql, pidFile) });
  try {
    const asked = await connection.query(
      `select name, setting from pg_settings where name in ('wal_level', 'max_wal_senders', 'max_replication_slots', 'wal_log_hints',
         'data_checksums', 'full_page_writes', 'fsync', 'max_prepared_transactions', 'hot_standby')`,
      [],
      ms(clock.now() + ANSWERS_WITHIN_MS),
    );
    if (!asked.ok) {
      const user = postgresql.superuser.username ?? "postgres";
      return [
        fault(
          "postgresql",
          `the server cannot be asked as ${user}: ${asked.error.message}`,
          "let this user in by pg_hba, and check its password under postgresql.authentication.superuser",
        ),
      ];
    }
    return parameterFindings(config, new Map(asked.value.map((row) => [String(row["name"]), String(row["setting"])])));
  } finally {
    await connection.close();
  }
}

export function parameterFindings(config: NodeConfig, at: ReadonlyMap<string, string>): readonly Finding[] {
  const subject = "parameters";
  const edit = (words: string) => `ctl edit-config -p ${words}, then ctl restart`;
  const findings: Finding[] = [];
  const is = (name: string, ...values: readonly string[]) => values.includes(at.get(name) ?? "");
  if (!is("wal_level", "replica", "logical"))
    findings.push(fault(subject, `wal_level is ${at.get("wal_level")}: no standby can follow`, edit("wal_level=replica")));
  if (Number(at.get("max_wal_senders")) < 3)
    findings.push(fault(subject, `max_wal_senders is ${at.get("max_wal_senders")}`, edit("max_wal_senders=10")));
  if (config.postgresql.useSlots && Number(at.get("max_replication_slots")) < 4)
    findings.push(warning(subject, `max_replication_slots is ${at.get("max_replication_slots")}`, edit("max_replication_slots=10")));
  if (config.postgresql.usePgRewind && !is("data_checksums", "on") && !is("wal_log_hints", "on"))
    findings.push(
      fault(
        subject,
        "use_pg_rewind is on, and neither data checksums nor wal_log_hints are: a former primary cannot be rewound",
        edit("wal_log_hints=on"),
      ),
    );
  if (!is("fsync", "on"))
    findings.push(warning(subject, "fsync is off: a host that dies loses acknowledged commits and may corrupt the data", edit("fsync=on")));
  if (!is("full_page_writes", "on"))
    findings.push(warning(subject, "full_page_writes is off: pg_rewind and a crash can leave torn pages", edit("full_page_writes=on")));
  return findings.length > 0 ? findings : [fine(subject, "wal_level, senders, slots, rewinding and syncing are as they have to be")];
}
