// Owns publishing this member once, without a supervisor: its session runs out by TTL, and the key with it. It never replaces a
// member key under a living session that is not its own.

import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeJson, encodeMember } from "../../dcs/encode.ts";
import { memberKey } from "../../dcs/keys.ts";
import type { Change } from "../../dcs/store.ts";
import { type Cluster, findMember } from "../../model/cluster.ts";
import { describeStoreError, type StoreError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import type { Revision } from "../../model/units.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { dcsDeadline } from "../lease-bounds.ts";
import { memberRecord } from "../member-record.ts";
import { lookAtPostgres } from "../observe.ts";
import { refreshCluster } from "../perform-dcs.ts";
import { stateDir } from "../run-lock.ts";
import { type Alone, complain, exitOf, openAlone, takeConfig } from "./open.ts";

/** Exit status: 0 published, 1 refused (the name is somebody else's), 2 usage, 3 the store did not answer, 4 beside a supervisor. */
export async function mainOfTouchMember(): Promise<ExitCode> {
  const alone = await openAlone({ worker: "touch-member", lock: "hold" });
  if (!alone.ok) return alone.error;
  try {
    return await touch(alone.value);
  } finally {
    await alone.value.close();
  }
}

async function touch(alone: Alone): Promise<ExitCode> {
  const { context } = alone;
  const { state, store } = context;
  if (!(await refreshCluster(context)) || state.cluster === null) {
    complain(state.dcsFailure?.reason ?? "the DCS did not answer");
    return EXIT.storeUnavailable;
  }
  await takeConfig(alone);
  const file = join(stateDir(state.settings.node.postgresql.dataDir), "touch-member.session");
  const former = readSession(file);
  const owner = await livingOwner(alone, state.cluster);
  if (!owner.ok) return failed(owner.error);
  if (owner.value !== null && owner.value !== former) {
    complain(`the member key of ${state.settings.node.name} belongs to a living session that is not this worker's (${owner.value})`);
    return EXIT.failed;
  }
  await lookAtPostgres(context);
  const session = await openSession(alone, owner.value);
  if (!session.ok) return failed(session.error);
  writeFileSync(file, session.value.id, { mode: 0o600 });
  chmodSync(file, 0o600);
  const record = memberRecord(context);
  const written = await publish(alone, { text: encodeMember(record), session: session.value.id });
  if (!written.ok) return failed(written.error);
  const key = memberKey(store.keys, state.settings.node.name);
  const answer = {
    worker: "touch-member",
    key,
    revision: written.value,
    session: session.value.id,
    livesAtLeastMs: session.value.promisedMs,
  };
  process.stdout.write(`${encodeJson({ ...answer, member: record })}\n`);
  return EXIT.ok;
}

/** The session that our member key stands under and that still lives; null where there is none. */
async function livingOwner({ context, store }: Alone, cluster: Cluster): Promise<Result<string | null, StoreError>> {
  const session = findMember(cluster, context.state.settings.node.name)?.session ?? null;
  if (session === null) return ok(null);
  const info = await store.sessionInfo(session, { deadline: dcsDeadline(context) });
  if (!info.ok) return info;
  return ok(info.value === null ? null : session);
}

/** Our own of the last time, renewed, while the key stands under it; else a new one. */
async function openSession({ context }: Alone, own: string | null): ReturnType<NodeStore["ensureSession"]> {
  const options = { deadline: dcsDeadline(context) };
  // Without a session yet: how long the next one is kept.
  await context.store.reloadConfig({ ...options, ttl: context.state.settings.dynamic.ttlMs });
  if (own !== null) {
    const adopted = await context.store.adoptSession(own, options);
    if (adopted.ok || adopted.error.kind !== "session-gone") return adopted;
  }
  return context.store.ensureSession(options);
}

type NodeStore = Alone["context"]["store"];

/** Only over what was seen: absent, our own, or a key that no living session owns. */
async function publish(
  { context, store }: Alone,
  record: { readonly text: string; readonly session: string },
): Promise<Result<Revision, StoreError>> {
  const { name } = context.state.settings.node;
  const key = memberKey(context.store.keys, name);
  const seen = context.state.cluster === null ? null : findMember(context.state.cluster, name);
  const put = { kind: "put", key, value: record.text, session: record.session } as const;
  const changes: readonly Change[] =
    seen === null
      ? [{ ...put, condition: { kind: "absent" } }]
      : [{ kind: "delete", key, condition: { kind: "revision", revision: seen.revision } }, put];
  const applied = await store.transaction(changes, { deadline: dcsDeadline(context) });
  if (!applied.ok) return applied;
  const revision = applied.value.at(-1);
  return revision === undefined ? err({ kind: "unknown-outcome", reason: "the store named no revision" }) : ok(revision);
}

function readSession(file: string): string | null {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    // The first time.
    return null;
  }
}

function failed(error: StoreError): ExitCode {
  complain(error.kind === "condition-failed" ? "the member key was changed by somebody else meanwhile" : describeStoreError(error));
  return exitOf(error);
}
