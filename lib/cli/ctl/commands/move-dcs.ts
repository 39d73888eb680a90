// Owns `ctl move-dcs`: a running cluster goes to another store, its PostgreSQLs running on. ctl changes the stores, the operator stops and
// starts the supervisors; each knows from what is printed when it is whose turn.

import { type Command, InvalidArgumentError } from "commander";
import { seconds } from "../../../model/units.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { CtlContext } from "../context.ts";
import { lookAt, type MovePhase, type MoveSight, phaseOf, placeOf, stillThere } from "../move-places.ts";
import { arrive, awaitSettled, awaitStopped, endPause, enterPause, leave, type Move, reserve } from "../move-steps.ts";
import type { CommandHost } from "../program.ts";
import { confirm } from "../prompt.ts";
import { CtlRefusal, usageRefusal } from "../refusal.ts";

interface MoveFlags {
  readonly to: string;
  readonly check?: true;
  readonly keepPause?: true;
  readonly wait: number;
  readonly force?: true;
  readonly yes?: true;
}

/** An evening's maintenance. */
const WAIT_SECONDS = 4 * 3600;
const WAIT_SECONDS_MAX = 7 * 24 * 3600;

export function addMoveDcs({ command, run, terminal }: CommandHost): void {
  command("move-dcs [cluster]", "move a running cluster to another store, from Consul to the Raft or back, without a restart of PostgreSQL")
    .requiredOption("--to <file|url>", "the new store: a node's file for it, or consul://…, raft://…")
    .option("--check", "only say what is where, and what comes next")
    .option("--keep-pause", "leave the cluster in pause at the end")
    .option("--wait <seconds>", "how long to wait for supervisors to be stopped, and to be started", waitSeconds, WAIT_SECONDS)
    .option("--force", "ask nothing")
    .option("--yes", "the same")
    .action((cluster: string | undefined, flags: MoveFlags, self: Command) =>
      run(self, async (context) => {
        if (context.group !== null) throw usageRefusal("a Citus cluster is not moved: its groups would have to move at one moment");
        const scope = context.scopeOf(cluster);
        const target = await openTarget(context, flags.to);
        try {
          if (target.config.scope !== "" && target.config.scope !== scope)
            throw usageRefusal(`--to: its scope is ${target.config.scope}, not ${scope}`);
          const from = placeOf(context, scope);
          const to = placeOf(target, scope);
          if (from.name === to.name && from.keys.prefix === to.keys.prefix) throw usageRefusal(`--to: this is where ${scope} is`);
          return await moveCluster({ scope, from, to, deadline: context.within(seconds(flags.wait)) }, flags);
        } finally {
          await target.close();
        }
      }),
    );

  /** What the environment says of a store is about the old one. */
  function openTarget(context: CtlContext, to: string): Promise<CtlContext> {
    const env = Object.fromEntries(
      Object.entries(terminal.env).filter(([name]) => !/^(DCS_URL|(PATRONI|MATRIARCH)_(CONSUL|RAFT)_HOST)$/.test(name)),
    );
    const url = /^[a-z0-9]+:\/\//i.test(to);
    const insecure = context.config.ctl.insecure === true ? ({ insecure: true } as const) : {};
    return CtlContext.open({ ...terminal, env }, url ? { dcsUrl: to, ...insecure } : { configFile: to, ...insecure });
  }
}

async function moveCluster(move: Move, flags: MoveFlags): Promise<ExitCode> {
  const { terminal } = move.from.context;
  let from = await lookAt(move.from, move.scope);
  let to = await lookAt(move.to, move.scope);
  const phase = phaseOf({ place: move.from, sight: from }, { place: move.to, sight: to });
  terminal.out(planText(move, from, phase));
  if (flags.check) {
    terminal.out("Nothing was changed.\n");
    return EXIT.ok;
  }
  const question = `Are you sure you want to move ${move.scope} from ${move.from.name} to ${move.to.name}?`;
  await confirm(terminal, question, { force: flags.force === true || flags.yes === true, refusal: "Aborted move" });

  if (phase === "leave") {
    await reserve(move, { from, to });
    const noted = await enterPause(move, from);
    if (Object.keys(noted.members).length === 0)
      throw new CtlRefusal("no member is known: start the supervisors once more, then call it again");
    from = await leave(move, await awaitStopped(move, noted));
    to = await lookAt(move.to, move.scope);
  }
  if (phase !== "settle") await arrive(move, { from, to });
  const record = from.seal?.record;
  if (record === undefined) throw new Error("a store that was left has its seal");
  const settled = await awaitSettled(move, record);
  if (flags.keepPause) terminal.out("The cluster stays in pause: ctl resume ends it\n");
  else await endPause(move, settled);
  terminal.out(`Success: ${move.scope} is decided by ${move.to.name}\n`);
  move.to.context.list([await move.to.context.readGroup(move.scope, null)]);
  return EXIT.ok;
}

const STEPS = [
  "the new store is reserved, so that nobody begins there too early",
  "the cluster is paused",
  "YOU stop the supervisor on each node; PostgreSQL runs on",
  "the old store is sealed: a supervisor that is started with it ends",
  "the state is written into the new store, in pause",
  "YOU start the supervisor on each node with the new store; the same primary takes the lock",
  "the pause ends",
] as const;
const FIRST_STEP: Readonly<Record<MovePhase, number>> = { leave: 0, arrive: 4, settle: 5 };

function planText(move: Move, from: MoveSight, phase: MovePhase): string {
  const first = FIRST_STEP[phase];
  const lines = STEPS.map((words, index) => `${index < first ? " ✓" : `${index + 1}.`.padStart(2)} ${words}\n`);
  const there = stillThere(from);
  const members = phase === "leave" ? `members there: ${there.join(", ") || "none"}` : "left";
  return `Move of ${move.scope} from ${move.from.name} (${members}) to ${move.to.name}\n${lines.join("")}`;
}

function waitSeconds(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > WAIT_SECONDS_MAX)
    throw new InvalidArgumentError(`write seconds, 1 to ${WAIT_SECONDS_MAX}`);
  return value;
}
