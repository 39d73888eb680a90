// Owns `ctl export` and `ctl import`: the state of a cluster in the DCS as a file, and back. What nodes make anew by themselves (who leads,
// who is there) is not part of it.

import { readFile, writeFile } from "node:fs/promises";
import type { Command } from "commander";
import {
  type ClusterExport,
  decodeExport,
  EXPORT_BYTES_MAX,
  encodeExport,
  exportOf,
  isEmpty,
  pausedExport,
  readWhole,
  writeExport,
} from "../../../dcs/cluster-export.ts";
import { isSealed } from "../../../dcs/cluster-seal.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { type CtlContext, orRefuse, type ReadCluster } from "../context.ts";
import { isPaused } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { confirm } from "../prompt.ts";
import { CtlRefusal } from "../refusal.ts";
import { restoreObstacle } from "../restore-plan.ts";

interface ImportFlags {
  readonly replace?: true;
  readonly force?: true;
}

export function addExport({ command, run }: CommandHost): void {
  command("export [cluster]", "write the cluster's state in the DCS as JSON: configuration, history, sync state and the like")
    .option("-o, --output <file>", "into this file (default: standard output)")
    .action((cluster: string | undefined, flags: { readonly output?: string }, self: Command) =>
      run(self, async (context) => {
        refuseApi(context);
        const scope = context.scopeOf(cluster);
        const { keys } = context.clusterStore(scope, context.group);
        const snapshot = orRefuse(await readWhole(context.store, keys, context.storeDeadline()));
        if (isEmpty(snapshot)) throw new CtlRefusal(`The DCS has no cluster ${scope}`);
        if (isSealed(snapshot, keys)) throw new CtlRefusal(`${scope} is not here any more: it was moved to another store (ctl move-dcs)`);
        const { namespace } = context.config;
        const text = encodeExport(
          exportOf(snapshot, keys, { scope, namespace, group: context.group, now: context.terminal.clock.wallNow() }),
        );
        if (flags.output === undefined) context.terminal.out(text);
        // The configuration may hold passwords of archive commands and the like.
        else await writeFile(flags.output, text, { mode: 0o600 }).catch((error: Error) => refuseFile(flags.output ?? "", error));
        return EXIT.ok;
      }),
    );
}

export function addImport({ command, run }: CommandHost): void {
  command("import <file> [cluster]", "write into the DCS what export wrote; - reads standard input")
    .option("--replace", "where the DCS has such a cluster already: put this in its place")
    .option("--force", "ask nothing")
    .action((file: string, cluster: string | undefined, flags: ImportFlags, self: Command) =>
      run(self, async (context) => {
        refuseApi(context);
        const document = await readDocument(context, file);
        const scope = cluster ?? document.scope;
        return importCluster(context, await context.readGroup(scope, context.group ?? document.group), document, flags);
      }),
    );
}

async function importCluster(context: CtlContext, read: ReadCluster, document: ClusterExport, flags: ImportFlags): Promise<ExitCode> {
  const { keys } = read.store;
  const present = orRefuse(await readWhole(context.store, keys, context.storeDeadline()));
  if (isSealed(present, keys))
    throw new CtlRefusal(`${read.scope} was moved from or to another store (ctl move-dcs): that goes on there, not by an import`);
  const restore = restoreObstacle(read.cluster);
  if (restore !== null) throw new CtlRefusal(restore);
  if (!isEmpty(present)) refuseOver(read, document, flags);
  const inPause = lives(read) ? keepPaused(document) : null;
  const names = [...Object.keys(document.keys), ...Object.keys(document.beside).map((name) => `${read.scope}${name}`)];
  context.terminal.out(`State of ${document.scope}, exported at ${document.exported_at}: ${names.join(", ")}\n`);
  const gone = present.inside.filter(({ key, session }) => session === null && !(key.slice(keys.prefix.length) in document.keys));
  if (gone.length > 0) context.terminal.out(`Deleted: ${gone.map(({ key }) => key.slice(keys.prefix.length)).join(", ")}\n`);
  const question = `Are you sure you want to ${isEmpty(present) ? "write" : "replace"} the state of cluster ${read.scope}?`;
  await confirm(context.terminal, question, {
    force: flags.force === true && (flags.replace === true || isEmpty(present)),
    refusal: "Aborted import",
  });
  const written = await writeExport(context.store, keys, { document: inPause ?? document, present, also: [], ...context.storeDeadline() });
  if (!written.ok && written.error.kind === "condition-failed")
    throw new CtlRefusal(`Cluster ${read.scope} has changed meanwhile: look at it first`);
  orRefuse(written);
  const still = inPause === null ? "" : "; it stays in pause until ctl resume";
  context.terminal.out(`Success: the state of cluster ${read.scope} is imported${still}\n`);
  return EXIT.ok;
}

/** A living cluster is not overwritten but on request, in pause, and never by another one. */
function refuseOver(read: ReadCluster, document: ClusterExport, flags: ImportFlags): void {
  if (flags.replace !== true) throw new CtlRefusal(`The DCS has a cluster ${read.scope} already; --replace puts this in its place`);
  if (!lives(read)) return;
  if (!isPaused(read)) throw new CtlRefusal(`Cluster ${read.scope} has living members: ctl pause --wait first`);
  const own = read.cluster.initialize;
  const other = document.keys["initialize"] ?? null;
  if (own !== null && own !== "" && own !== other) {
    throw new CtlRefusal(
      `Cluster ${read.scope} with the system identifier ${own} has living members; this is the state of ${other ?? "a cluster without one"}`,
    );
  }
}

function lives({ cluster }: ReadCluster): boolean {
  return cluster.leader !== null || cluster.members.length > 0;
}

/** What was exported outside of a pause must not end one. */
function keepPaused(document: ClusterExport): ClusterExport {
  const paused = pausedExport(document, true);
  if (!paused.ok) throw new CtlRefusal(paused.error);
  return paused.value;
}

async function readDocument(context: CtlContext, file: string): Promise<ClusterExport> {
  const source =
    file === "-" ? await context.terminal.readAll() : await readFile(file, "utf8").catch((error: Error) => refuseFile(file, error));
  if (Buffer.byteLength(source) > EXPORT_BYTES_MAX) throw new CtlRefusal(`${file}: more than ${EXPORT_BYTES_MAX} bytes`);
  const document = decodeExport(source);
  if (!document.ok) throw new CtlRefusal(`${file}: this is no state of a cluster that ctl export wrote: ${document.error}`);
  return document.value;
}

function refuseFile(file: string, error: Error): never {
  throw new CtlRefusal(`${file}: ${error.message}`);
}

function refuseApi({ store }: CtlContext): void {
  if (store.kind === "api") throw new CtlRefusal("a node's API does not show all keys; name the DCS with -c, or -d consul:// or raft://");
}
