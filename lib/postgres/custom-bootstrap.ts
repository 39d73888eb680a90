// Owns the making of a new cluster by the configuration's own command (a restore from a backup), the recovery that may
// follow it, and the users. Nobody can connect before it is done.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { BootstrapConfig, MethodOptions, ParameterValue } from "../model/node-config.ts";
import type { ControlData } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { readIfThere, reasonOf } from "./atomic-file.ts";
import { writeConfigFiles } from "./config-files.ts";
import type { PostgresContext } from "./context.ts";
import { readControlData } from "./control-data.ts";
import { createUsers, type MakingOptions } from "./initdb.ts";
import { makingEnvironment } from "./making-processes.ts";
import { isEnabled, methodCommand } from "./method-command.ts";
import { lastLines, withReason } from "./program-output.ts";
import { secretEnvironment } from "./secret-environment.ts";

/** Between two looks at pg_control while a restored server recovers; recovery takes seconds to hours. */
const RECOVERY_POLL_MS = 200;
const STANDBY_STATES: ReadonlySet<string> = new Set(["shut down in recovery", "in archive recovery"]);

/** Runs the method's command, recovers what it restored up to its target, and puts the users in place. Errors: failed, cancelled. */
export async function runCustomMethod(
  context: PostgresContext,
  options: MakingOptions & { readonly bootstrap: BootstrapConfig },
): Promise<Result<null, PostgresError>> {
  const section = options.bootstrap.methodOptions ?? {};
  const restored = await runCommand(context, options, section);
  if (!restored.ok) return restored;
  const { config } = context;
  const control = await readControlData(context.run, context.clock, config.dataDir);
  if (!control.ok) return control;
  const version = await majorVersion(config.dataDir);
  if (!version.ok) return version;
  const recovery = recoveryOf(section, control.value);
  const request = { role: "primary", follow: null, synchronousStandbyNames: "", majorVersion: version.value } as const;
  const written = await writeConfigFiles(context, { ...request, controlData: control.value, ...recovery });
  if (!written.ok) return written;
  if (recovery !== null) {
    const recovered = await recover(context, options, written.value.serverArguments);
    if (!recovered.ok) return recovered;
  }
  return await createUsers(context, { ...options, configFile: join(config.configDir, "postgresql.conf") });
}

async function runCommand(
  context: PostgresContext,
  options: MakingOptions & { readonly bootstrap: BootstrapConfig },
  section: MethodOptions,
): Promise<Result<null, PostgresError>> {
  const { method } = options.bootstrap;
  const argv = methodCommand(section, { scope: context.scope, datadir: context.config.dataDir });
  if (argv === null) return err({ kind: "failed", message: `bootstrap.${method}.command is missing or has an open quote` });
  const secret = await secretEnvironment(context, context.config.superuser);
  if (!secret.ok) return secret;
  options.progress(`Running custom bootstrap script: ${section["command"]}`);
  const outcome = await context.run({
    argv,
    env: { ...secret.value, ...makingEnvironment(context.config.dataDir) },
    signal: options.signal,
    onLine: options.progress,
  });
  if (!outcome.ok) return outcome;
  const { exitCode, stderr } = outcome.value;
  return exitCode === 0
    ? ok(null)
    : err({
        kind: "failed",
        message: withReason(`bootstrap method ${method}: ${argv[0]} exited with code=${exitCode}`, lastLines(stderr)),
      });
}

/** How the restored directory is recovered; null = nothing beyond crash recovery. */
function recoveryOf(
  section: MethodOptions,
  control: ControlData,
): { readonly recoverySettings: Record<string, ParameterValue> } | { readonly keepSignalFiles: true } | null {
  if (isEnabled(section["keep_existing_recovery_conf"])) return { keepSignalFiles: true };
  const settings = section["recovery_conf"];
  if (typeof settings === "object" && settings !== null) {
    const known = Object.entries(settings).filter(
      (entry): entry is [string, ParameterValue] =>
        ["string", "number", "boolean"].includes(typeof entry[1]) && entry[0] !== "standby_mode",
    );
    // A new cluster has to become writable, whatever the target.
    return { recoverySettings: { ...Object.fromEntries(known), recovery_target_action: "promote" } };
  }
  // A copy of a standby: recovery of what it has, onto a timeline of its own.
  return STANDBY_STATES.has(control.state) ? { recoverySettings: { restore_command: "false", recovery_target_action: "promote" } } : null;
}

/** Starts the server with no socket but one in a folder that only we may enter, waits until recovery is over, stops it. Errors: failed, cancelled. */
export async function recover(
  context: PostgresContext,
  options: MakingOptions,
  serverArguments: readonly string[],
): Promise<Result<null, PostgresError>> {
  const folder = await mkdtemp(join(tmpdir(), "matriarch-recovery-"));
  try {
    return await recoverUnseen(context, options, [
      ...serverArguments,
      "-c",
      "listen_addresses=",
      "-c",
      `unix_socket_directories=${folder}`,
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function recoverUnseen(
  context: PostgresContext,
  options: MakingOptions,
  serverArguments: readonly string[],
): Promise<Result<null, PostgresError>> {
  const { dataDir } = context.config;
  if ((await readIfThere(join(dataDir, "standby.signal"))) !== null) {
    return err({ kind: "failed", message: "the restored directory has a standby.signal: its recovery would never end" });
  }
  options.progress("recovering the restored directory");
  let ended = false;
  const server = context
    .run({
      argv: ["postgres", ...serverArguments],
      env: makingEnvironment(dataDir),
      signal: options.signal,
      onLine: options.progress,
    })
    .finally(() => {
      ended = true;
    });
  while (!ended) {
    const control = await readControlData(context.run, context.clock, dataDir);
    if (!control.ok) break;
    const signalLeft = (await readIfThere(join(dataDir, "recovery.signal"))) !== null;
    if (control.value.state === "in production" && !signalLeft) break;
    await Promise.race([server, Bun.sleep(RECOVERY_POLL_MS)]);
  }
  if (!ended) {
    const stop = await context.run({ argv: ["pg_ctl", "stop", "-D", dataDir, "-m", "fast", "-w", "-t", "600"], signal: options.signal });
    if (!stop.ok) return stop;
  }
  const outcome = await server;
  if (!outcome.ok) return outcome;
  const control = await readControlData(context.run, context.clock, dataDir);
  if (!control.ok) return control;
  if (control.value.state === "shut down") return ok(null);
  return err({ kind: "failed", message: `the recovery did not come to its end: ${lastLines(outcome.value.stderr)}` });
}

async function majorVersion(dataDir: string): Promise<Result<number, PostgresError>> {
  try {
    const version = Number((await readIfThere(join(dataDir, "PG_VERSION")))?.trim());
    if (Number.isInteger(version) && version > 0) return ok(version);
    return err({ kind: "failed", message: `the method left no data directory in ${dataDir}` });
  } catch (error) {
    return err({ kind: "failed", message: `${dataDir}: ${reasonOf(error)}` });
  }
}
