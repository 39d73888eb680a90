// Owns the leader race that runs alone: one pass that is judged and printed, or, with --perform, the guarded holder in the
// foreground. Without --perform it changes nothing, neither in the DCS nor on this node.

import { join } from "node:path";
import { type LoadedConfig, loadNodeConfig } from "../../config/load.ts";
import { decide } from "../../core/decide.ts";
import type { Observation } from "../../core/observation.ts";
import { encodeJson } from "../../dcs/encode.ts";
import { ok } from "../../model/result.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { readLeaseFile } from "../lease-file.ts";
import { MatriarchNode, type NodeWorkers } from "../node.ts";
import type { NodeContext } from "../node-context.ts";
import { lookAtPostgres, observe } from "../observe.ts";
import { refreshCluster, refreshMark } from "../perform-dcs.ts";
import { stateDir } from "../run-lock.ts";
import { type Alone, complain, openAlone, readArguments, refuseRoot, takeConfig } from "./open.ts";
import { stopAndRelease } from "./stop-and-release.ts";

const WORKER = "leader-race";
const PERFORM = "--perform";

/**
 * Exit status of a pass: 0 judged, 1 refused, 2 usage, 3 judged without the store, which did not answer, 4 beside a supervisor.
 * With --perform: that of the node, 0 after SIGTERM.
 */
export async function mainOfLeaderRace(workers: Pick<NodeWorkers, "leaderRace" | "watch" | "vip">): Promise<number> {
  const words = readArguments({ worker: WORKER, flags: [PERFORM] });
  if (!words.ok) return words.error;
  if (words.value.flags.has(PERFORM)) return await perform(words.value.path, workers);
  const alone = await openAlone({ worker: WORKER, flags: [PERFORM], lock: "look" });
  if (!alone.ok) return alone.error;
  try {
    return await judge(alone.value);
  } finally {
    await alone.value.close();
  }
}

/** One pass: what is, and what this node would do next. */
async function judge(alone: Alone): Promise<ExitCode> {
  const { context } = alone;
  const { state } = context;
  if (await refreshCluster(context)) {
    await takeConfig(alone);
    await refreshMark(context);
  }
  await lookAtPostgres(context);
  await lookAtControlData(context);
  const observation = observe(context);
  const { rule, why, effect } = decide(observation);
  const { node } = state.settings;
  const lease = readLeaseFile(join(stateDir(node.postgresql.dataDir), "lease"));
  const answer = { worker: WORKER, scope: node.scope, name: node.name, performed: false, decision: { rule, why, effect } };
  process.stdout.write(`${encodeJson({ ...answer, facts: withoutSecrets(observation), formerLease: lease })}\n`);
  return state.dcsFailure === null ? EXIT.ok : EXIT.storeUnavailable;
}

/** Of a server that is down; the loop reads it as a step of its own. */
async function lookAtControlData({ postgres, state: { local } }: NodeContext): Promise<void> {
  if (local.process.kind === "running" || local.dataDirectory.kind !== "valid") return;
  const control = await postgres.controlData();
  if (!control.ok) return;
  local.control = control.value;
  local.systemIdentifier = control.value.systemIdentifier;
}

/** primary_conninfo may hold a password that somebody wrote by hand. */
function withoutSecrets(observation: Observation): Observation {
  const { status } = observation.local;
  if (status === null) return observation;
  const primaryConninfo = status.primaryConninfo.replace(/password\s*=\s*('(?:[^'\\]|\\.|'')*'|\S+)/gi, "password=***");
  return { ...observation, local: { ...observation.local, status: { ...status, primaryConninfo } } };
}

/** The holder alone: nothing is written before a guard stands, and PostgreSQL is down before the lock is let go. */
async function perform(path: string | null, workers: Pick<NodeWorkers, "leaderRace" | "watch" | "vip">): Promise<number> {
  const root = refuseRoot(WORKER);
  if (root !== null) return root;
  const loaded = await loadNodeConfig({ path, env: process.env });
  if (!loaded.ok) {
    for (const fault of loaded.error) complain(`${fault.path}: ${fault.message}`);
    return EXIT.failed;
  }
  const guarded = withGuard(loaded.value);
  if (guarded === null) {
    complain("watchdog.mode: off leaves nothing to arm; --perform needs automatic or required");
    return EXIT.failed;
  }
  const started = await MatriarchNode.start({
    loaded: guarded,
    path,
    env: process.env,
    workers: {
      ...workers,
      httpApi: async () => ok(null),
      backup: async () => ({ note: async () => undefined, close: async () => undefined }),
    },
    alone: { worker: WORKER, end: stopAndRelease },
  });
  if (!started.ok) {
    complain(started.error.message);
    return started.error.code;
  }
  const node = started.value;
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(name, () => node.stop());
  // What nobody foresaw is an exit as well.
  for (const name of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(name, (reason: unknown) => {
      complain(`leader-race ends: ${String(reason)}`);
      node.stop();
    });
  }
  const { code, message } = await node.run();
  process.stdout.write(`${encodeJson({ worker: WORKER, performed: true, exit: { code, message } })}\n`);
  return code;
}

/** Here the guard is not a choice: where it cannot be armed, nothing is promoted or started as primary. */
function withGuard(loaded: LoadedConfig): LoadedConfig | null {
  const { config } = loaded;
  if (config.watchdog.mode === "off") return null;
  return { ...loaded, config: { ...config, watchdog: { ...config.watchdog, mode: "required" } } };
}
