// Owns the page about the rules: made from the table (lib/core/decide.ts) by reading its functions' own text. It must not know any rule.

import { RULES } from "../../lib/core/decide.ts";
import type { EffectKind } from "../../lib/core/decision.ts";
import type { Rule } from "../../lib/core/rule.ts";

/** What a node can be, as its data directory and its server show. */
type State = "empty" | "stopped" | "standby" | "primary" | "ended";

/** Where an effect that is done takes a node. Effects that are not named leave it what it is. */
const MOVES: Partial<Record<EffectKind, readonly (readonly [State, State])[]>> = {
  bootstrap: [["empty", "primary"]],
  clone: [
    ["empty", "stopped"],
    ["stopped", "stopped"],
  ],
  rewind: [["stopped", "stopped"]],
  start: [
    ["stopped", "standby"],
    ["stopped", "primary"],
  ],
  promote: [["standby", "primary"]],
  stop: [
    ["primary", "stopped"],
    ["standby", "stopped"],
  ],
  "hand-over": [["primary", "stopped"]],
  exit: [
    ["stopped", "ended"],
    ["empty", "ended"],
  ],
};

/** Rules that stand together: what they share, and where they stand. */
interface Section {
  /** Name of the function that says whether any of them can apply; null where each says so itself. */
  readonly holds: string | null;
  readonly rules: readonly Rule[];
}

/** The whole page, as docs/fsm.md has it. */
export function fsmPage(): string {
  const sections = sectionsOf(RULES);
  return `${[
    "# The decision, rule by rule",
    "",
    "Written by `bun run scripts/fsm.ts` from the table in lib/core/decide.ts; a test refuses a page that says anything else. At each look the",
    "first rule that applies decides, one effect is performed, and its outcome is part of the next look, until a rule says `wait`.",
    "The id of the rule stands in the log line and in the status document.",
    "",
    `${RULES.length} rules in ${sections.length} sections. A section is asked once: where what it shares does not hold, none of its rules is asked.`,
    "",
    "## In which order",
    "",
    "```mermaid",
    "flowchart TD",
    ...sections.flatMap((section, index) => orderLines(section, index, sections.length)),
    "```",
    "",
    "## What a node becomes, and by which rules",
    "",
    "```mermaid",
    "stateDiagram-v2",
    ...moveLines(),
    "```",
    ...sections.flatMap((section, index) => sectionLines(section, index)),
  ].join("\n")}\n`;
}

function sectionsOf(rules: readonly Rule[]): readonly Section[] {
  const sections: { readonly holds: string | null; readonly rules: Rule[] }[] = [];
  for (const rule of rules) {
    const holds = rule.section?.name ?? null;
    const last = sections.at(-1);
    if (last !== undefined && last.holds === holds) last.rules.push(rule);
    else sections.push({ holds, rules: [rule] });
  }
  return sections;
}

function orderLines(section: Section, index: number, count: number): readonly string[] {
  const [first, last] = [section.rules[0]?.id ?? "", section.rules.at(-1)?.id ?? ""];
  const span = first === last ? first : `${first} … ${last}`;
  const next = index + 1 < count ? [`  s${index} -- none applies --> s${index + 1}`] : [];
  return [`  s${index}["${index + 1}. ${section.holds ?? "always asked"}<br/>${span}"]`, ...next];
}

function moveLines(): readonly string[] {
  const lines = ["  [*] --> empty", "  [*] --> stopped", "  ended --> [*]"];
  for (const [kind, moves] of Object.entries(MOVES)) {
    for (const [from, to] of moves) {
      const by = RULES.filter((rule) => effectsOf(rule).includes(kind) && leadsTo(rule, to)).map(({ id }) => id);
      if (by.length > 0) lines.push(`  ${from} --> ${to}: ${kind} (${by.join(", ")})`);
    }
  }
  return lines;
}

/** A start names its role in the rule's own text; any other effect leads where its kind does. */
function leadsTo(rule: Rule, to: State): boolean {
  const role = /kind: "start",\s*role: "(\w+)"/.exec(rule.then.toString())?.[1];
  return role === undefined || role === to;
}

function sectionLines(section: Section, index: number): readonly string[] {
  return [
    "",
    `## ${index + 1}. ${section.holds === null ? "Always asked" : `Where \`${section.holds}\``}`,
    "",
    "| rule | applies when | effect | says |",
    "|---|---|---|---|",
    ...section.rules.map((rule) => `| ${rule.id} | ${code(bodyOf(rule.when))} | ${effectText(rule)} | ${cell(whyOf(rule))} |`),
  ];
}

function effectText(rule: Rule): string {
  const kinds = effectsOf(rule);
  if (kinds.length > 0) return kinds.join(" or ");
  return code(bodyOf(rule.then));
}

/** Kinds that the rule's own text names; none where another function chooses. */
function effectsOf(rule: Rule): readonly string[] {
  const text = rule.then.toString();
  const named = [...text.matchAll(/kind: "([a-z-]+)"/g)].map((match) => match[1] ?? "");
  if (/\bwait(Cycle|AtMost)?\(/.test(text) || rule.then.name.startsWith("wait")) named.push("wait");
  return [...new Set(named)];
}

/** What the rule says of itself, with … for what is filled in. */
function whyOf(rule: Rule): string {
  const texts = [...rule.why.toString().matchAll(/"((?:[^"\\]|\\.){4,})"|`((?:[^`\\]|\\.)*)`/g)];
  const said = texts.map((match) => (match[1] ?? withoutValues(match[2] ?? "")).trim());
  return said.length > 0 ? said.join(" / ") : code(bodyOf(rule.why));
}

/** A template's text with each filled-in part as …; parts may hold braces of their own. */
function withoutValues(template: string): string {
  let text = "";
  let depth = 0;
  for (let at = 0; at < template.length; at++) {
    if (template.startsWith("${", at)) {
      if (depth === 0) text += "…";
      depth += 1;
      at += 1;
    } else if (depth > 0) {
      if (template[at] === "{") depth += 1;
      if (template[at] === "}") depth -= 1;
    } else text += template[at];
  }
  return text;
}

/** The text of a function without what introduces it; its name where it is a named one. */
function bodyOf(named: (...args: never[]) => unknown): string {
  const text = named.toString();
  const arrow = /^\(?\w*\)?\s*=>\s*/.exec(text);
  return arrow === null ? `${named.name}(o)` : text.slice(arrow[0].length);
}

function code(text: string): string {
  return `\`${cell(text)}\``;
}

function cell(text: string): string {
  return text.replace(/\s+/g, " ").replaceAll("|", "\\|");
}
