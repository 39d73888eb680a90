// Owns `ctl demote-cluster` and `ctl promote-cluster`: they write or remove standby_cluster and wait until the leader has followed.

import { type Command, InvalidArgumentError } from "commander";
import { isStandbyCluster } from "../../../core/cluster-view.ts";
import { leaderMember } from "../../../model/cluster.ts";
import { ms, seconds } from "../../../model/units.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { timestamp } from "../appointment.ts";
import { type CtlContext, leaderOf, type ReadCluster } from "../context.ts";
import { ANSWERS_WITHIN, askAnyMember, loopWait } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { confirm } from "../prompt.ts";
import { CtlRefusal } from "../refusal.ts";
import { awaitCluster } from "../watch-cluster.ts";

/** A busy primary is stopped with a checkpoint, and may have to be rewound before it follows. */
const FOLLOW_GRACE = seconds(300);

interface DemoteFlags {
  readonly force?: true;
  readonly host?: string;
  readonly port?: number;
  readonly restoreCommand?: string;
  readonly primarySlotName?: string;
}

export function addDemoteCluster({ command, run }: CommandHost): void {
  command("demote-cluster [cluster]", "make the cluster a standby of a remote primary")
    .option("--force", "ask nothing")
    .option("--host <host>", "where the remote primary is")
    .option("--port <port>", "its port", portNumber)
    .option("--restore-command <command>", "how WAL of the remote primary is fetched from an archive")
    .option("--primary-slot-name <name>", "the slot to use on the remote primary")
    .action((cluster: string | undefined, flags: DemoteFlags, self: Command) =>
      run(self, async (context) => {
        const section = sectionOf(flags);
        if (section === null) throw new CtlRefusal("At least --host, --port or --restore-command should be specified");
        return change(context, await context.read(context.scopeOf(cluster)), {
          verb: "demote",
          done: "demoted",
          noun: "demotion",
          section,
          force: flags.force === true,
        });
      }),
    );
}

export function addPromoteCluster({ command, run }: CommandHost): void {
  command("promote-cluster [cluster]", "make a standby cluster run on its own")
    .option("--force", "ask nothing")
    .action((cluster: string | undefined, flags: { readonly force?: true }, self: Command) =>
      run(self, async (context) =>
        change(context, await context.read(context.scopeOf(cluster)), {
          verb: "promote",
          done: "promoted",
          noun: "promotion",
          section: null,
          force: flags.force === true,
        }),
      ),
    );
}

interface Change {
  readonly verb: "demote" | "promote";
  readonly done: string;
  readonly noun: string;
  /** The new standby_cluster; null takes it away. */
  readonly section: Readonly<Record<string, string | number>> | null;
  readonly force: boolean;
}

async function change(context: CtlContext, read: ReadCluster, wanted: Change): Promise<ExitCode> {
  const { terminal } = context;
  const { section, verb, done, noun } = wanted;
  if (isStandbyCluster(read.cluster.config?.data["standby_cluster"]) === (section !== null))
    throw new CtlRefusal("Cluster is already in the required state");
  terminal.out("Current cluster topology\n");
  context.list([read]);
  if (!wanted.force) terminal.out(`${meaning(read, section)}\n`);
  const question = `Are you sure you want to ${verb} ${read.scope} cluster?`;
  await confirm(terminal, question, { force: wanted.force, refusal: `Aborted cluster ${noun}` });
  const asked = await askAnyMember(context, read, {
    method: "PATCH",
    path: "/config",
    body: { standby_cluster: section },
    within: ANSWERS_WITHIN,
  });
  if (asked.kind === "nobody") throw new CtlRefusal(`Can not find accessible cluster member (${asked.reasons.join("; ")})`);
  const { status, text } = asked.answer;
  if (status !== 200) throw new CtlRefusal(`Failed to ${verb} cluster management, status code=${status}, (${text})`);
  const after = await awaitRole(context, read, section === null ? "primary" : "standby_leader");
  terminal.out(`${secondNow(context)} cluster is successfully ${done}\n`);
  context.list([after]);
  return EXIT.ok;
}

function meaning(read: ReadCluster, section: Change["section"]): string {
  const leader = leaderOf(read)?.name ?? "the leader";
  if (section === null)
    return `${leader} is promoted: ${read.scope} takes writes from then on, and goes its own way from the remote primary`;
  const source = section["host"] === undefined ? "the archive" : `${section["host"]}:${section["port"] ?? 5432}`;
  return `${leader} stops, loses what ${source} does not have, and follows it: nobody can write to ${read.scope} until promote-cluster`;
}

/** Tells each change of the leader on the way. */
async function awaitRole(context: CtlContext, read: ReadCluster, role: "primary" | "standby_leader"): Promise<ReadCluster> {
  const { terminal } = context;
  let told = "";
  const deadline = context.within(ms(2 * loopWait(read) + FOLLOW_GRACE));
  const done = await awaitCluster(
    context,
    await context.readGroup(read.scope, read.group),
    ({ cluster }) => {
      const leader = leaderMember(cluster);
      if (leader?.role === role && leader.state === "running") return true;
      const unlocked = cluster.leader === null ? "True" : "False";
      const line = `cluster is unlocked: ${unlocked}, leader role: ${leader?.role ?? "None"}, leader state: ${leader?.state ?? "None"}`;
      if (line !== told) terminal.out(`${secondNow(context)} ${line}\n`);
      told = line;
      return false;
    },
    deadline,
  );
  if (done !== null) return done;
  throw new CtlRefusal(`the configuration is written, but no member has become ${role} yet: look at list, and at the members' logs`);
}

function secondNow({ terminal }: CtlContext): string {
  return timestamp(terminal.clock.wallNow()).replace(/\.\d+$/, "");
}

function sectionOf(flags: DemoteFlags): Readonly<Record<string, string | number>> | null {
  const given = {
    host: flags.host,
    port: flags.port,
    restore_command: flags.restoreCommand,
    primary_slot_name: flags.primarySlotName,
  };
  const { primary_slot_name: _slot, ...source } = given;
  if (!Object.values(source).some(Boolean)) return null;
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string | number] => Boolean(entry[1])));
}

function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65_535) throw new InvalidArgumentError("write a port from 1 to 65535");
  return port;
}
