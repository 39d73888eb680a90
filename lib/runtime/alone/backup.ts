// Owns the look at the scheduled backups where no supervisor need run. It takes none and changes nothing.

import { scheduledBackups } from "../../core/scheduled-backups.ts";
import { encodeJson } from "../../dcs/encode.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { refreshCluster } from "../perform-dcs.ts";
import { type Alone, complain, openAlone } from "./open.ts";

/** Exit status: 0 told, 1 nothing is scheduled in the node's file, 2 usage, 3 the store did not answer, 4 beside a supervisor. */
export async function mainOfBackup(): Promise<ExitCode> {
  const alone = await openAlone({ worker: "backup", lock: "look" });
  if (!alone.ok) return alone.error;
  try {
    return await look(alone.value);
  } finally {
    await alone.value.close();
  }
}

async function look({ context }: Alone): Promise<ExitCode> {
  const { clock, state } = context;
  const schedule = state.settings.node.pgbackrest?.schedule ?? null;
  if (schedule === null) {
    complain("pgbackrest.schedule: nothing is scheduled; write pgbackrest: {stanza: demo, schedule: {full: '0 1 * * 0'}}");
    return EXIT.failed;
  }
  if (!(await refreshCluster(context)) || state.cluster === null) {
    complain(state.dcsFailure?.reason ?? "the DCS did not answer");
    return EXIT.storeUnavailable;
  }
  process.stdout.write(`${encodeJson({ worker: "backup", ...scheduledBackups(schedule, state.cluster.backup, clock.wallNow()) })}\n`);
  return EXIT.ok;
}
