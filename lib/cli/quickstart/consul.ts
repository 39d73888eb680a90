// Owns the Consul server of a quickstart that wants one: its start, and waiting until it keeps what it is told.

import type { QuickstartPaths, ServerUser } from "./folder.ts";
import { type Launched, launch } from "./launch.ts";
import { endedEarly, lastLines } from "./log-end.ts";
import { consulPaths, host, writeConsulFile } from "./node-file.ts";
import type { QuickstartState } from "./state.ts";

const consulWithinMs = 20_000;
/** Nothing announces its readiness; this is how often it is asked. */
const askEveryMs = 50;

/** Throws Error when the program cannot be started. */
export function startConsul(
  program: string,
  order: {
    readonly paths: QuickstartPaths;
    readonly consul: NonNullable<QuickstartState["consul"]>;
    readonly user: ServerUser;
    readonly runId: string;
  },
): Promise<Launched> {
  const { paths, consul, user, runId } = order;
  writeConsulFile(paths, consul, user);
  const place = consulPaths(paths);
  const command = [program, "agent", `-config-file=${place.configuration}`] as const;
  return launch({ command: [...command], folder: place.folder, logFile: place.log, runId, node: null, user });
}

/** Consul is ready when it has elected itself: only then does it keep anything. Throws Error with the end of its log. */
export async function waitForConsul(options: {
  readonly httpPort: number;
  readonly signal: AbortSignal;
  readonly launched: Launched;
  readonly log: string;
}): Promise<void> {
  const { httpPort, signal, launched, log } = options;
  let ended: string | null = null;
  void launched.ended.then((how) => {
    ended = how;
  });
  const end = performance.now() + consulWithinMs;
  while (performance.now() < end) {
    signal.throwIfAborted();
    if (ended !== null) throw new Error(endedEarly("Consul", ended, log));
    const leader = await fetch(`http://${host}:${httpPort}/v1/status/leader`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(1_000)]),
    })
      .then((answer) => answer.text())
      .catch(() => "");
    // The key/value store answers only once the election's first entry is applied.
    if (leader.length > 4 && (await storeAnswers(httpPort, signal))) return;
    await Bun.sleep(askEveryMs);
  }
  throw new Error(`Consul was not ready within ${consulWithinMs / 1000} s. Its log ends:\n${lastLines(log)}`);
}

async function storeAnswers(httpPort: number, signal: AbortSignal): Promise<boolean> {
  const url = `http://${host}:${httpPort}/v1/kv/?keys&consistent`;
  // It is only just starting: whatever keeps it from answering, it is asked again, and its log is shown in the end.
  const answer = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(1_000)]) }).catch(() => null);
  return answer !== null && (answer.status === 200 || answer.status === 404);
}
