// Owns `ctl upgrade`: the look at one node, and the request for a major upgrade of the whole cluster: the plan, the question, the request in
// the DCS, and the wait for its end. The nodes carry it out; this may be interrupted at any time.

import { type Command, Option } from "commander";
import { formatJson } from "../../../core/json-text.ts";
import type { Cluster } from "../../../model/cluster.ts";
import { seconds } from "../../../model/units.ts";
import {
  formerOf,
  isUnreadableUpgrade,
  isUpgrading,
  lackingLastWal,
  type UpgradeMode,
  type UpgradeRequest,
} from "../../../model/upgrade.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { type CtlContext, orRefuse, type ReadCluster } from "../context.ts";
import { isPaused } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { askYes } from "../prompt.ts";
import { CtlRefusal, usageRefusal } from "../refusal.ts";
import { followRequest, requestId } from "../request.ts";
import { abandonObstacle } from "../restore-plan.ts";
import {
  checkFaults,
  describeUpgrade,
  leftUndone,
  lostWayBack,
  planLines,
  rollbackOf,
  upgradeObstacles,
  WAYS_ON,
} from "../upgrade-plan.ts";
import { awaitCluster } from "../watch-cluster.ts";

interface UpgradeFlags {
  readonly check?: true;
  readonly run?: true;
  readonly plan?: true;
  readonly status?: true;
  readonly rollback?: true;
  readonly abandon?: true;
  readonly toBinDir?: string;
  readonly mode: UpgradeMode;
  readonly force?: true;
  readonly wait: boolean;
  readonly format: "pretty" | "json";
}

/** The rehearsal on the leader ends by then (rehearsal.ts), and the others are done long before. */
const CHECKED_WITHIN = seconds(35 * 60);

export function addUpgrade({ command, run, runAlone }: CommandHost): void {
  command("upgrade [name]", "a major upgrade of PostgreSQL: look at a node before it, do it on the whole cluster, or go back")
    .option("--check", "look at this node alone, and say what stands against it; [name] is its file")
    .option("--run", "upgrade the cluster [name]: a plan first; or go on with an upgrade that failed")
    .option("--plan", "with --run: the members look, the plan is shown, and nothing else is done")
    .option("--status", "how the last upgrade stands")
    .option("--rollback", "back to the old version, as long as that can be done")
    .option("--to-bin-dir <folder>", "programs of the new version on every node, e.g. /usr/lib/postgresql/15/bin")
    .addOption(new Option("--mode <mode>", "what pg_upgrade does with the files").choices(["link", "copy"]).default("link"))
    .option("--force", "ask nothing")
    .option("--no-wait", "do not wait for the end")
    .addOption(new Option("--abandon", "give up an upgrade whose node is lost: the other members go on with the old data"))
    .addOption(new Option("-f, --format <format>", "of --check: pretty or json").choices(["pretty", "json"]).default("pretty"))
    .action((name: string | undefined, flags: UpgradeFlags, self: Command) => {
      const asked = [flags.check, flags.run, flags.status, flags.rollback, flags.abandon].filter(Boolean).length;
      if (asked !== 1) throw usageRefusal("write one of --check, --run, --status, --rollback and --abandon");
      if (flags.check) return check({ runAlone }, self, name, flags);
      return run(self, async (context) => {
        const read = await context.read(context.scopeOf(name));
        if (read.group !== null)
          throw new CtlRefusal(
            "a group of an MPP cluster is not upgraded alone, as its groups would not fit each other: upgrade all of them by hand (docs/upgrades.md, Groups of an MPP cluster)",
          );
        if (flags.status) return status(context, read);
        if (flags.rollback) return await rollback(context, read, flags);
        return flags.abandon ? await abandon(context, read, flags) : await begin(context, read, flags);
      });
    });
}

function check({ runAlone }: Pick<CommandHost, "runAlone">, self: Command, file: string | undefined, flags: UpgradeFlags) {
  const newBinDir = folderOf(flags);
  return runAlone(self, async ({ terminal, configFile }) => {
    const { preflight } = await import("../../upgrade/preflight.ts");
    const { findingsText } = await import("../../doctor/finding.ts");
    const { env, clock } = terminal;
    const findings = await preflight({ path: file ?? configFile, env, clock, newBinDir, mode: flags.mode });
    terminal.out(flags.format === "json" ? `${formatJson(findings)}\n` : findingsText(findings));
    return findings.some(({ verdict }) => verdict === "fault") ? EXIT.failed : EXIT.ok;
  });
}

function folderOf({ toBinDir }: UpgradeFlags): string {
  if (toBinDir === undefined) throw usageRefusal("write --to-bin-dir FOLDER, with the programs of the new version");
  if (!toBinDir.startsWith("/")) throw usageRefusal(`--to-bin-dir ${toBinDir}: not an absolute path`);
  return toBinDir;
}

async function begin(context: CtlContext, read: ReadCluster, flags: UpgradeFlags): Promise<ExitCode> {
  const { terminal } = context;
  if (isUpgrading(read.cluster.upgrade)) return await goOn(context, read, read.cluster.upgrade, flags);
  const checked = await lookAll(context, read, flags);
  const faults = checkFaults(checked.cluster, checked.request);
  if (faults.length > 0) {
    await forget(context, read, checked.request, "refused by the look before it; nothing was changed");
    throw new CtlRefusal(`it cannot be upgraded now:\n  ${faults.join("\n  ")}`);
  }
  const { fromMajor, toMajor, id } = checked.request;
  const lines = [...planLines(checked.request, checked.cluster), ...lostWayBack(checked.request.former)];
  terminal.out(`Upgrade of ${read.scope} from PostgreSQL ${fromMajor} to ${toMajor}:\n${lines.map((line) => ` ${line}\n`).join("")}`);
  const wanted = !flags.plan && (flags.force || (await askYes(terminal, `Upgrade cluster ${read.scope}?`)));
  // The answer may have taken a while.
  const now = (await context.readGroup(read.scope, read.group)).cluster;
  if (!wanted) {
    await forget(context, read, checked.request, "not begun; nothing was changed");
    if (flags.plan) {
      terminal.out(" Nothing was changed.\n");
      return EXIT.ok;
    }
    throw new CtlRefusal("upgrade aborted: nothing was changed");
  }
  const obstacles = [...upgradeObstacles(now, isPaused({ ...read, cluster: now })), ...checkFaults(now, checked.request)];
  if (now.leader?.name !== checked.request.node)
    obstacles.push(`${now.leader?.name ?? "nobody"} leads now, and no longer ${checked.request.node}`);
  if (now.upgrade?.id !== id || now.upgrade.phase !== "check") obstacles.push("somebody else has changed the request meanwhile");
  if (obstacles.length > 0) {
    await forget(context, read, checked.request, "not begun; nothing was changed");
    throw new CtlRefusal(`nothing was changed:\n  ${obstacles.join("\n  ")}`);
  }
  await write(context, read, checked.request, { phase: "stop", former: null });
  terminal.out(`Upgrade ${id} was asked for\n`);
  return flags.wait ? await follow(context, read) : EXIT.ok;
}

/** Every member looks at itself. Throws CtlRefusal where it cannot even be asked for. */
async function lookAll(
  context: CtlContext,
  read: ReadCluster,
  flags: UpgradeFlags,
): Promise<{ readonly cluster: Cluster; readonly request: UpgradeRequest }> {
  const binDir = folderOf(flags);
  const { cluster } = read;
  const obstacles = upgradeObstacles(cluster, isPaused(read));
  if (obstacles.length > 0 || cluster.leader === null) throw new CtlRefusal(`it cannot be upgraded now:\n  ${obstacles.join("\n  ")}`);
  const id = requestId(context.terminal.clock.wallNow());
  const request: Omit<UpgradeRequest, "revision"> = {
    ...{ id, phase: "check", direction: "forward", node: cluster.leader.name, mode: flags.mode, fromMajor: 0, toMajor: 0, binDir },
    ...{ fromIdentifier: cluster.initialize ?? "", identifier: null, initdb: null, checkpoint: null, checked: {} },
    ...{ received: [], cloned: [], analyzed: false, message: null, former: formerOf(cluster.upgrade) },
  };
  orRefuse(await read.store.values.setUpgradeValue(request, cluster.upgrade?.revision ?? null, context.storeDeadline()));
  context.terminal.out("Every member looks at itself; pg_upgrade --check is rehearsed on the leader …\n");
  const looked = await awaitCluster(
    context,
    await context.readGroup(read.scope, read.group),
    ({ cluster: now }) => now.upgrade?.id !== id || now.members.every(({ name }) => now.upgrade?.checked[name] !== undefined),
    context.within(CHECKED_WITHIN),
  );
  const found = looked?.cluster.upgrade ?? null;
  if (looked === null) {
    const message = "the members have not looked at themselves: nothing was changed";
    const asked = (await context.readGroup(read.scope, read.group)).cluster.upgrade;
    if (asked?.id === id) await forget(context, read, asked, message);
    throw new CtlRefusal(message);
  }
  if (found?.id !== id) throw new CtlRefusal("somebody else has changed the request meanwhile: nothing was changed");
  return { cluster: looked.cluster, request: found };
}

/** Nothing was begun: what is known of the upgrade before it stands in the key again, as `--rollback` needs it. */
async function forget(context: CtlContext, read: ReadCluster, asked: UpgradeRequest, message: string): Promise<void> {
  const now = (await context.readGroup(read.scope, read.group)).cluster.upgrade;
  // Whatever another operator has asked for since is not ours to end.
  if (now?.id !== asked.id || now.phase !== "check") return;
  await letGo(context, read, now, message);
}

async function letGo(context: CtlContext, read: ReadCluster, request: UpgradeRequest, message: string): Promise<void> {
  const { former, revision } = request;
  if (former === null) await end(context, read, request, message);
  else await write(context, read, { ...former, former: null, revision }, {});
}

/** What has begun is followed; what failed is tried again. */
async function goOn(context: CtlContext, read: ReadCluster, request: UpgradeRequest, flags: UpgradeFlags): Promise<ExitCode> {
  context.terminal.out(`${describeUpgrade(request)}\n`);
  if (isUnreadableUpgrade(request)) throw new CtlRefusal("nobody can go on with it: ctl upgrade --abandon ends it");
  if (request.phase === "failed") {
    const lacking = lackingLastWal(request).join(", ");
    const question =
      lacking === ""
        ? "Try the upgrade again?"
        : `${lacking} did not get the last WAL of ${request.node}: what was committed last is on ${request.node} alone until the copies are made; --rollback and then --run brings it to them first. Upgrade without it on ${lacking}?`;
    // The force flag is written before anybody knows who lacks what.
    if (!(flags.force && lacking === "") && !(await askYes(context.terminal, question))) throw new CtlRefusal("nothing was changed");
    await write(context, read, request, { phase: "upgrade", message: null });
  }
  return flags.wait ? await follow(context, read) : EXIT.ok;
}

async function rollback(context: CtlContext, read: ReadCluster, flags: UpgradeFlags): Promise<ExitCode> {
  const { upgrade } = read.cluster;
  if (upgrade === null) throw new CtlRefusal("no upgrade was ever asked for");
  context.terminal.out(`${describeUpgrade(upgrade)}\n`);
  const way = wayBack(read);
  if (!flags.force && !(await askYes(context.terminal, way.question))) throw new CtlRefusal("nothing was changed");
  // The answer may have taken a while: it holds for the way back that it was asked for.
  const now = await context.readGroup(read.scope, read.group);
  const seen = now.cluster.upgrade;
  if (seen?.id !== upgrade.id || wayBack(now).question !== way.question || (seen.phase === "done") !== (upgrade.phase === "done"))
    throw new CtlRefusal("the upgrade has gone on meanwhile: nothing was changed; ctl upgrade --status");
  const served = way.phase === "stop" ? { direction: "back" as const, checkpoint: null, received: [], cloned: [], analyzed: false } : {};
  if (way.phase === "done") {
    await letGo(context, now, seen, "not begun; nothing was changed");
    if (seen.former !== null) context.terminal.out(`${describeUpgrade(seen.former)}\n`);
    return EXIT.ok;
  }
  await write(context, now, seen, { phase: way.phase, message: null, ...served });
  return flags.wait ? await follow(context, now) : EXIT.ok;
}

/** Throws CtlRefusal where there is none now. */
function wayBack(read: ReadCluster): Exclude<ReturnType<typeof rollbackOf>, string> {
  const { upgrade } = read.cluster;
  if (upgrade === null) throw new CtlRefusal("no upgrade was ever asked for");
  const way = rollbackOf(upgrade);
  if (typeof way === "string") throw new CtlRefusal(`it cannot be taken back: ${way}`);
  // What has served is left as an upgrade is begun: by a leader that the others follow.
  const obstacles = way.phase === "stop" && upgrade.phase === "done" ? [...upgradeObstacles(read.cluster, isPaused(read))] : [];
  if (way.phase === "stop" && read.cluster.leader?.name !== upgrade.node)
    obstacles.push(`${upgrade.node} has the old data, and does not lead: switch over to it first`);
  if (obstacles.length > 0) throw new CtlRefusal(`it cannot be taken back now:\n  ${obstacles.join("\n  ")}`);
  return way;
}

async function abandon(context: CtlContext, read: ReadCluster, flags: UpgradeFlags): Promise<ExitCode> {
  const { upgrade } = read.cluster;
  if (!isUpgrading(upgrade)) throw new CtlRefusal("no upgrade is under way");
  const refuse = ({ cluster }: ReadCluster): void => {
    const obstacle = abandonObstacle(cluster);
    if (obstacle !== null) throw new CtlRefusal(`it cannot be given up: ${obstacle}`);
  };
  refuse(read);
  context.terminal.out(`${describeUpgrade(upgrade)}\n`);
  const question = "Is the upgrading node lost, and shall the others go on with the data that they have?";
  if (!flags.force && !(await askYes(context.terminal, question))) throw new CtlRefusal("nothing was changed");
  // The answer may have taken a while: the lost node may be back, or have brought the upgrade forward.
  const now = await context.readGroup(read.scope, read.group);
  refuse(now);
  const seen = now.cluster.upgrade;
  if (!isUpgrading(seen) || seen.id !== upgrade.id || seen.phase !== upgrade.phase)
    throw new CtlRefusal("the upgrade has gone on meanwhile: nothing was changed; ctl upgrade --status");
  // The lost node may have said already whose data serves; the others have what they had.
  const { direction, fromIdentifier, identifier } = seen;
  const systemIdentifier = direction === "back" ? identifier : fromIdentifier;
  if (!isUnreadableUpgrade(seen) && systemIdentifier !== null && now.cluster.initialize !== systemIdentifier)
    orRefuse(await now.store.values.initialize({ systemIdentifier, createNew: false, ...context.storeDeadline() }));
  // In place of what could not be read, too.
  await end(context, now, { ...seen, node: seen.node || "unknown" }, "abandoned: the other members went on with the data that they had");
  return EXIT.ok;
}

async function end(context: CtlContext, read: ReadCluster, request: UpgradeRequest, message: string): Promise<void> {
  await write(context, read, request, { phase: "done", message });
}

async function write(
  context: CtlContext,
  { store }: ReadCluster,
  { revision, ...value }: UpgradeRequest,
  changed: Partial<UpgradeRequest>,
): Promise<void> {
  orRefuse(await store.values.setUpgradeValue({ ...value, ...changed }, revision, context.storeDeadline()));
}

function status(context: CtlContext, { cluster: { upgrade } }: ReadCluster): ExitCode {
  context.terminal.out(upgrade === null ? "no upgrade was ever asked for\n" : `${describeUpgrade(upgrade)}\n`);
  const former = upgrade?.phase === "check" ? upgrade.former : null;
  if (former !== null) context.terminal.out(`Before that: ${describeUpgrade(former)}\n`);
  return upgrade === null || upgrade.phase === "failed" ? EXIT.failed : EXIT.ok;
}

/** Tells each change until it is over. Exit status 1 where it failed. */
async function follow(context: CtlContext, from: ReadCluster): Promise<ExitCode> {
  const { upgrade } = await followRequest(context, from, {
    line: ({ upgrade: now }) => (now === null ? null : describeUpgrade(now)),
    isOver: ({ upgrade: now }) => !isUpgrading(now) || now.phase === "failed",
    status: "ctl upgrade --status",
  });
  if (upgrade?.phase !== "done") throw new CtlRefusal(`the upgrade did not come to its end: ${WAYS_ON}`);
  const left = leftUndone(upgrade);
  if (left !== null) context.terminal.out(`Warning: the cluster is upgraded, but ${left}\n`);
  return EXIT.ok;
}
