// Owns asking members for GET /backups and reading the answer: the first that reads the repository speaks for all.

import * as v from "valibot";
import type { ScheduledBackups } from "../../core/scheduled-backups.ts";
import type { BackupListing } from "../../model/backup.ts";
import { BACKUP_TYPES } from "../../model/backup-run.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { seconds } from "../../model/units.ts";
import type { CtlContext, ReadCluster } from "./context.ts";
import { leaderFirst } from "./member-choice.ts";
import { CtlRefusal } from "./refusal.ts";

/** Longer than a member waits for pgBackRest. */
const LISTED_WITHIN = seconds(35);

const word = v.nullable(v.string());
const scheduledSchema = v.object({
  timezone: v.string(),
  types: v.array(
    v.object({
      type: v.picklist(BACKUP_TYPES),
      time: v.string(),
      due: v.nullable(v.number()),
      done: v.nullable(v.object({ node: v.string(), at: v.number(), seconds: v.number(), label: word })),
      failed: v.nullable(v.object({ node: v.string(), at: v.number(), attempt: v.number(), message: v.string(), final: v.boolean() })),
    }),
  ),
  running: v.nullable(v.object({ type: v.picklist(BACKUP_TYPES), node: v.string(), beganAt: v.number(), attempt: v.number() })),
});
const schema = v.object({
  stanza: v.string(),
  status: v.object({ code: v.number(), message: v.string() }),
  running: v.boolean(),
  backups: v.array(
    v.object({
      label: v.string(),
      type: v.picklist(["full", "diff", "incr"]),
      startedAt: v.number(),
      stoppedAt: v.number(),
      databaseBytes: v.number(),
      repositoryBytes: v.number(),
      walStart: word,
      walStop: word,
      prior: word,
      damaged: v.boolean(),
      systemIdentifier: word,
    }),
  ),
  archive: v.nullable(v.object({ first: v.string(), last: v.string() })),
  // A member of an older version says nothing of it.
  scheduled: v.nullish(scheduledSchema, null),
});

/** What the repository holds, and how the scheduled backups stand; null where the member that was asked has no schedule. */
export type BackupsRead = BackupListing & { readonly scheduled: ScheduledBackups | null };

/** As one member reads the repository. Throws CtlRefusal with every member's reason where none does. */
export async function readBackups(context: CtlContext, read: ReadCluster): Promise<BackupsRead> {
  const { members } = read.view;
  if (members.length === 0) throw new CtlRefusal(`cluster ${read.scope} has no members`);
  const reasons: string[] = [];
  for (const member of leaderFirst(members)) {
    if (member.api_url === undefined) {
      reasons.push(`${member.name}: it publishes no api_url`);
      continue;
    }
    const answer = await context.peers.send("GET", member.api_url, "/backups", null, context.within(LISTED_WITHIN));
    if (!answer.ok) reasons.push(`${member.name}: ${answer.error.message}`);
    else if (answer.value.status !== 200) reasons.push(`${member.name}: ${refusalText(answer.value.text)}`);
    else {
      const listing = parse(answer.value.text);
      if (listing.ok) return listing.value;
      reasons.push(`${member.name}: ${listing.error}`);
    }
  }
  throw new CtlRefusal(`no member reads the repository:\n  ${reasons.join("\n  ")}`);
}

/** A Patroni answers an unknown path with its status document. */
function refusalText(text: string): string {
  return text.startsWith("{") ? "it does not know GET /backups; is it a Patroni?" : text;
}

function parse(text: string): Result<BackupsRead, string> {
  try {
    const parsed = v.safeParse(schema, JSON.parse(text));
    if (parsed.success) return ok(parsed.output);
  } catch {
    // Told below: whatever it is, it is no list of backups.
  }
  return err("GET /backups answered with something else than a list of backups");
}
