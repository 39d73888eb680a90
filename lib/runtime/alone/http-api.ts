// Owns the API that runs alone: it listens on the node's REST address until it is interrupted. Beside a leader-race that holds
// the lock, never beside a supervisor.

import { encodeJson } from "../../dcs/encode.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import type { StartApi } from "../node.ts";
import { acquireRunLock } from "../run-lock.ts";
import { apiLockPath } from "./local-api.ts";
import { LockViewService } from "./lock-view.ts";
import { type Alone, complain, openAlone, refuseRoot } from "./open.ts";

const WORKER = "http-api";

/** Exit status: 0 interrupted, 1 refused (taken port, wrong user), 2 usage, 4 beside a supervisor or another API alone. */
export async function mainOfHttpApi(startApi: StartApi): Promise<ExitCode> {
  const alone = await openAlone({ worker: WORKER, lock: "look", beside: ["leader-race", "touch-member"] });
  if (!alone.ok) return alone.error;
  try {
    return refuseRoot(WORKER) ?? (await serve(alone.value, startApi));
  } finally {
    await alone.value.close();
  }
}

async function serve(alone: Alone, startApi: StartApi): Promise<ExitCode> {
  const { context, signal } = alone;
  const { node } = context.state.settings;
  const lock = acquireRunLock(apiLockPath(node.postgresql.dataDir), WORKER);
  if (!lock.ok) {
    const held = lock.error.kind === "held";
    complain(lock.error.kind === "held" ? `http-api of this node runs already (pid ${lock.error.holderPid})` : lock.error.message);
    return held ? EXIT.alreadyRunning : EXIT.failed;
  }
  const started = await startApi(new LockViewService(alone), alone.log);
  if (!started.ok) {
    complain(`${started.error.path}: ${started.error.message}`);
    lock.value.release();
    return EXIT.failed;
  }
  const { host, port } = node.restapi.listen;
  process.stdout.write(`${encodeJson({ worker: WORKER, listening: `${host}:${port}` })}\n`);
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  await started.value?.stop();
  lock.value.release();
  return EXIT.ok;
}
