// Owns writing the failsafe key once, without a supervisor: the addresses of all known members, only while this node holds the
// lock under the session and the lease that its lease file names. The store checks the ownership once more in the same transaction.

import { join } from "node:path";
import { failsafeMembers } from "../../core/failsafe.ts";
import { encodeJson } from "../../dcs/encode.ts";
import type { Cluster } from "../../model/cluster.ts";
import { describeStoreError } from "../../model/errors.ts";
import { ms, revision } from "../../model/units.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { dcsDeadline } from "../lease-bounds.ts";
import { bootId, readLeaseFile } from "../lease-file.ts";
import { apiUrl } from "../member-record.ts";
import { refreshCluster } from "../perform-dcs.ts";
import { stateDir } from "../run-lock.ts";
import { type Alone, complain, exitOf, openAlone, takeConfig } from "./open.ts";

/** Exit status: 0 written, 1 refused (not the holder, failsafe_mode off), 2 usage, 3 the store did not answer, 4 beside a supervisor. */
export async function mainOfFailsafeWrite(): Promise<ExitCode> {
  const alone = await openAlone({ worker: "failsafe-write", lock: "look", beside: ["leader-race"] });
  if (!alone.ok) return alone.error;
  try {
    return await write(alone.value);
  } finally {
    await alone.value.close();
  }
}

async function write(alone: Alone): Promise<ExitCode> {
  const { context } = alone;
  const { state, store } = context;
  if (!(await refreshCluster(context)) || state.cluster === null) {
    complain(state.dcsFailure?.reason ?? "the DCS did not answer");
    return EXIT.storeUnavailable;
  }
  await takeConfig(alone);
  const session = ownSession(alone, state.cluster);
  if (session === null) {
    complain(`${state.settings.node.name} does not hold the lock: only its holder writes the failsafe key`);
    return EXIT.failed;
  }
  if (!state.settings.dynamic.failsafeMode) {
    complain("failsafe_mode is off: a failsafe key would be old when it is switched on");
    return EXIT.failed;
  }
  const members = failsafeMembers(state.cluster, { name: state.settings.node.name, apiUrl: apiUrl(state) });
  const lock = { session, revision: state.cluster.leader?.revision ?? revision(0), confirmedAt: context.clock.now(), promisedMs: ms(0) };
  const written = await store.values.writeFailsafe(members, { deadline: dcsDeadline(context), lock });
  if (!written.ok) {
    complain(written.error.kind === "condition-failed" ? "the lock is not this node's any more" : describeStoreError(written.error));
    return exitOf(written.error);
  }
  process.stdout.write(`${encodeJson({ worker: "failsafe-write", key: store.keys.failsafe, revision: written.value, members })}\n`);
  return EXIT.ok;
}

/** The lock's session where it is the one that this node's lease file names, and that lease still runs. */
function ownSession({ context }: Alone, cluster: Cluster): string | null {
  const { node } = context.state.settings;
  const { leader } = cluster;
  const lease = readLeaseFile(join(stateDir(node.postgresql.dataDir), "lease"));
  if (leader === null || lease === null || leader.name !== node.name || leader.session !== lease.session) return null;
  if (lease.bootId !== bootId() || lease.deadline <= context.clock.now() || lease.dataDir !== node.postgresql.dataDir) return null;
  return lease.session;
}
