// Owns `ctl explain`: why each member could, or could not, be promoted, in a table; of one member also what it decided itself.

import type { Command } from "commander";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import type { CtlContext, ReadCluster } from "../context.ts";
import { askExplanation, type ReadExplanation } from "../explanation.ts";
import { type Format, formatListing } from "../formats.ts";
import { leaderFirst } from "../member-choice.ts";
import type { CommandHost } from "../program.ts";
import { CtlRefusal } from "../refusal.ts";
import { formatOption } from "./list.ts";

export function addExplain({ command, run }: CommandHost): void {
  command("explain [cluster] [member]", "say for each member whether it could be promoted now, and every reason why not")
    .addOption(formatOption("pretty"))
    .action((cluster: string | undefined, member: string | undefined, flags: { readonly format: Format }, self: Command) =>
      run(self, async (context) => explain(context, await context.read(context.scopeOf(cluster)), member ?? null, flags.format)),
    );
}

async function explain(context: CtlContext, read: ReadCluster, about: string | null, format: Format): Promise<ExitCode> {
  const { terminal } = context;
  if (read.view.members.length === 0) throw new CtlRefusal(`cluster ${read.scope} has no members`);
  const named = read.view.members.filter(({ name }) => name === about);
  if (about !== null && named.length === 0) throw new CtlRefusal(`${about} is not a member of cluster ${read.scope}`);
  const told = await firstAnswer(context, [...named, ...leaderFirst(read.view.members).filter(({ name }) => name !== about)]);
  const shown = told.members.filter(({ name }) => about === null || name === about);
  const rows = shown.map((member) => {
    const text = member.leads ? "it leads" : null;
    return {
      Member: member.name,
      Role: member.leads ? "Leader" : (member.role ?? ""),
      State: member.state ?? "silent",
      TL: member.timeline ?? undefined,
      WAL: member.wal ?? undefined,
      Failover: text ?? (member.promotable ? "possible" : "no"),
      Switchover: text ?? (member.switchover.possible ? "possible" : "no"),
      "Why not": member.leads ? "" : reasons(member).join("\n"),
    };
  });
  if (format !== "pretty" && format !== "tsv") {
    const whole = shown.map((member) =>
      member.name === told.name ? { ...member, decision: told.decision, last_race: told.last_race } : member,
    );
    terminal.out(formatListing({ title: null, columns: COLUMNS, rows: whole }, format));
    return EXIT.ok;
  }
  const flat = format === "tsv" ? rows.map((row) => ({ ...row, "Why not": row["Why not"].replaceAll("\n", "; ") })) : rows;
  terminal.out(formatListing({ title: `Cluster: ${read.scope}, as ${told.name} sees it`, columns: COLUMNS, rows: flat }, format));
  if (format === "pretty") terminal.out(decisions(told, about));
  return EXIT.ok;
}

/** Throws CtlRefusal where none of them explains. */
async function firstAnswer(context: CtlContext, members: ReadCluster["view"]["members"]): Promise<ReadExplanation> {
  const complaints: string[] = [];
  for (const member of members) {
    const answer = await askExplanation(context, member);
    if (answer.ok) return answer.value;
    complaints.push(answer.error);
  }
  throw new CtlRefusal(`no member explains anything:\n  ${complaints.join("\n  ")}`);
}

function reasons({ obstacles, switchover }: ReadExplanation["members"][number]): readonly string[] {
  const known = obstacles.map(({ rule, reason }) => `${reason} (${rule})`);
  // What a failover is refused for stands there already, but for what only a switchover wants.
  const more = obstacles.length > 0 ? [] : switchover.obstacles.map((reason) => `switchover: ${reason}`);
  return [...known, ...more];
}

/** What the member says of its own decisions: only it knows them. */
function decisions(told: ReadExplanation, about: string | null): string {
  const lines: string[] = [];
  if (about !== null && told.name !== about) lines.push(`${about} does not answer: what it decided itself is not known`);
  else {
    if (told.decision !== null) lines.push(`${told.name} decided last: ${told.decision.why} (${told.decision.rule})`);
    const race = told.last_race;
    if (race !== null) lines.push(`When nobody led last, at ${race.time}, ${told.name} decided: ${race.text} (${race.rule})`);
  }
  return lines.map((line) => ` ${line}\n`).join("");
}

const COLUMNS = [
  { title: "Member", align: "left" },
  { title: "Role", align: "left" },
  { title: "State", align: "left" },
  { title: "TL", align: "right" },
  { title: "WAL", align: "right" },
  { title: "Failover", align: "left" },
  { title: "Switchover", align: "left" },
  { title: "Why not", align: "left" },
] as const;
