// Owns the making of a new cluster: initdb or a custom method, users, post_bootstrap. Does not decide who bootstraps.

import type { PostgresError } from "../model/errors.ts";
import type { BootstrapConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import { reasonOf } from "./atomic-file.ts";
import { bootstrapCitus } from "./citus-bootstrap.ts";
import { scriptConninfo } from "./conninfo.ts";
import type { PostgresContext } from "./context.ts";
import { runCustomMethod } from "./custom-bootstrap.ts";
import { findPostmaster } from "./data-directory.ts";
import { appendHba, createUsers, runInitdb } from "./initdb.ts";
import { whileMaking } from "./making-directory.ts";
import { lastLines, withReason } from "./program-output.ts";
import { secretEnvironment } from "./secret-environment.ts";
import { shellWords } from "./shell-words.ts";

export interface BootstrapOptions {
  readonly bootstrap: BootstrapConfig;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
  /** The facade's start as primary: writes configuration files, resolves when connections are accepted. */
  readonly start: () => Promise<Result<null, PostgresError>>;
}

const INITDB = "initdb";

/** Addresses that mean "every interface": a client on this machine takes localhost. */
const WILDCARD_HOSTS: ReadonlySet<string> = new Set(["*", "0.0.0.0", "::", ""]);

/**
 * Makes the cluster in an absent, empty or half-made directory. The marker stays until everything is done, so a kill in
 * the middle, or an error, leaves a directory that may be cleared. The replication and rewind users exist before the
 * server first accepts a connection. Errors: refused (directory in use), failed, cancelled.
 */
export async function bootstrapCluster(context: PostgresContext, options: BootstrapOptions): Promise<Result<null, PostgresError>> {
  return await whileMaking(context, { making: "initdb", keepValid: false }, async () => {
    const made = options.bootstrap.method === INITDB ? await byInitdb(context, options) : await runCustomMethod(context, options);
    if (!made.ok) return made;
    if (options.signal.aborted) return err({ kind: "cancelled", message: "the bootstrap was ended" });
    const started = await options.start();
    const done = started.ok ? await afterStart(context, options) : started;
    if (!done.ok) await endServer(context);
    return done;
  });
}

/** What a command of the configuration made has its extensions already. */
async function afterStart(context: PostgresContext, options: BootstrapOptions): Promise<Result<null, PostgresError>> {
  const done = await postBootstrap(context, options);
  const { citus } = context.config;
  if (!done.ok || citus === null || options.bootstrap.method !== INITDB) return done;
  return await bootstrapCitus(context, citus, options.progress);
}

/** A cluster that was not finished is thrown away, so its server may end in any way. */
async function endServer(context: PostgresContext): Promise<void> {
  if ((await findPostmaster(context.config.dataDir)) === null) return;
  const outcome = await context.run({ argv: ["pg_ctl", "stop", "-D", context.config.dataDir, "-m", "immediate", "-w", "-t", "60"] });
  const reason = !outcome.ok ? outcome.error.message : outcome.value.exitCode === 0 ? null : lastLines(outcome.value.stderr);
  if (reason !== null) context.log.error(`the server of an unfinished bootstrap does not stop: ${reason}`);
}

async function byInitdb(context: PostgresContext, options: BootstrapOptions): Promise<Result<null, PostgresError>> {
  const made = await runInitdb(context, options.bootstrap.initdb, options);
  if (!made.ok) return made;
  try {
    await appendHba(context, options.bootstrap.pgHba);
  } catch (error) {
    return err({ kind: "failed", message: `pg_hba.conf: ${reasonOf(error)}` });
  }
  return await createUsers(context, { ...options, configFile: null });
}

/** Of the command's sessions, as Patroni gives them: no standby is there to wait for, and what makes a cluster may take long. */
const POST_BOOTSTRAP_OPTIONS = "-c synchronous_commit=local -c statement_timeout=0";

/** `<command> <connection string>` with PGPASSFILE and PGOPTIONS, to its end. */
async function postBootstrap(context: PostgresContext, options: BootstrapOptions): Promise<Result<null, PostgresError>> {
  const command = options.bootstrap.postBootstrap;
  if (command === null || command.trim() === "") return ok(null);
  const words = shellWords(command);
  if (words === null) return err({ kind: "failed", message: "bootstrap.post_bootstrap: a quote is not closed" });
  const secret = await secretEnvironment(context, context.config.superuser);
  if (!secret.ok) return secret;
  options.progress("running post_bootstrap");
  const outcome = await context.run({
    argv: [...words, localConninfo(context)],
    env: { ...secret.value, PGOPTIONS: POST_BOOTSTRAP_OPTIONS },
    signal: options.signal,
    onLine: options.progress,
  });
  if (!outcome.ok) return outcome;
  const { exitCode, stderr } = outcome.value;
  return exitCode === 0
    ? ok(null)
    : err({ kind: "failed", message: withReason(`post_bootstrap ended with exit status ${exitCode}`, lastLines(stderr)) });
}

function localConninfo(context: PostgresContext): string {
  const { config } = context;
  const socket =
    String(config.parameters["unix_socket_directories"] ?? "")
      .split(",")[0]
      ?.trim() ?? "";
  const listen = config.listenHosts[0] ?? "";
  const host = config.useUnixSocket && socket.startsWith("/") ? socket : WILDCARD_HOSTS.has(listen) ? "localhost" : listen;
  return scriptConninfo({ user: config.superuser, host, port: config.port });
}
