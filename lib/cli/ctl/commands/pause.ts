// Owns `ctl pause`, and with resume.ts the way in and out of maintenance mode.

import type { Command } from "commander";
import { ms, seconds } from "../../../model/units.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import type { CtlContext, ReadCluster } from "../context.ts";
import { ANSWERS_WITHIN, askAnyMember, isPaused, loopWait } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { CtlRefusal } from "../refusal.ts";
import { awaitCluster } from "../watch-cluster.ts";

/** A member that has not followed after two loops and this does not follow at all. */
const FOLLOW_GRACE = seconds(10);

export function addPause(host: CommandHost): void {
  addMaintenance(host, {
    name: "pause",
    description: "stop automatic failover (maintenance mode)",
    waits: "wait until all members have seen it",
  });
}

/** `pause` or `resume`. */
export function addMaintenance(
  { command, run }: CommandHost,
  options: { readonly name: "pause" | "resume"; readonly description: string; readonly waits: string },
): void {
  command(`${options.name} [cluster]`, options.description)
    .option("--wait", options.waits)
    .action((cluster: string | undefined, flags: { readonly wait?: true }, self: Command) =>
      run(self, async (context) => {
        const read = await context.read(context.scopeOf(cluster));
        return setMaintenance(context, read, { mode: options.name === "pause" ? "on" : "off", wait: flags.wait === true });
      }),
    );
}

/** Throws CtlRefusal: it is so already, nobody takes the request, or with `wait` somebody does not follow in time. */
export async function setMaintenance(
  context: CtlContext,
  read: ReadCluster,
  wanted: { readonly mode: "on" | "off"; readonly wait: boolean },
): Promise<ExitCode> {
  const on = wanted.mode === "on";
  const [verb, participle] = on ? ["pause", "paused"] : ["resume", "resumed"];
  if (read.view.members.length > 0 && isPaused(read) === on)
    throw new CtlRefusal(on ? "Cluster is already paused" : "Cluster is not paused");
  // Null deletes: a configuration that says nothing of pause is the one that was there before.
  const asked = await askAnyMember(context, read, {
    method: "PATCH",
    path: "/config",
    body: { pause: on ? true : null },
    within: ANSWERS_WITHIN,
  });
  if (asked.kind === "nobody") {
    const tried = asked.reasons.length === 0 ? "" : ` (${asked.reasons.join("; ")})`;
    throw new CtlRefusal(`Can not find accessible cluster member${tried}; edit-config -s pause=${on} needs none`);
  }
  if (asked.answer.status !== 200) {
    throw new CtlRefusal(`${verb} cluster management status code=${asked.answer.status}, (${asked.answer.text})`);
  }
  if (wanted.wait) {
    context.terminal.out(`'${verb}' request sent, waiting until it is recognized by all nodes\n`);
    await awaitAllMembers(context, read, on);
  }
  context.terminal.out(`Success: cluster management is ${participle}\n`);
  return EXIT.ok;
}

async function awaitAllMembers(context: CtlContext, read: ReadCluster, on: boolean): Promise<void> {
  let behind: readonly string[] = [];
  const deadline = context.within(ms(2 * loopWait(read) + FOLLOW_GRACE));
  const done = await awaitCluster(
    context,
    await context.readGroup(read.scope, read.group),
    (now) => {
      behind = now.cluster.members.filter((member) => member.pause !== on).map((member) => member.name);
      return behind.length === 0;
    },
    deadline,
  );
  if (done === null) throw new CtlRefusal(`the configuration is written, but not yet recognized by ${behind.join(", ")}`);
}
