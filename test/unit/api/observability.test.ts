// Goal: dashboard and alert rules ask for measures that exist. Method: every name in them is looked for in what a node answers.

import { describe, expect, test } from "bun:test";
import { parse } from "yaml";
import { NO_FSYNCS } from "../../../lib/dcs/raft/member/sync-times.ts";
import { seconds } from "../../../lib/model/units.ts";
import { Measures } from "../../../lib/runtime/measures.ts";
import { readExposition } from "../../harness/exposition.ts";
import { apiOf } from "./asking.ts";
import { EXPLANATION, facts, MEASURES, NodeUnderTest } from "./node-under-test.ts";

const FOLDER = new URL("../../../docs/observability", import.meta.url).pathname;

const RAFT = { state: "serving", role: "leader", syncMs: 1, term: 1, commit: 1, applied: 1, lastIndex: 1, snapshotIndex: 0 } as const;

/** With parts that not every node has: each adds measures. */
async function shownNames(): Promise<ReadonlySet<string>> {
  const now = facts();
  const schedule = { times: { full: "0 1 * * 0" }, timezone: "UTC", onLeader: "never", retryAfterMs: seconds(60) } as const;
  const pgbackrest = { stanza: "demo", config: null, command: "pgbackrest", schedule };
  const node = new NodeUnderTest({ ...now, config: { ...now.config, pgbackrest } });
  const sizes = { fsyncs: NO_FSYNCS, logBytes: 1, snapshotBytes: 1, elections: 1, voters: 1, votersConnected: 1 };
  const measures = new Measures();
  node.measured = { ...MEASURES, families: () => measures.families(), raft: { ...RAFT, ...sizes } };
  const names = new Set<string>(["up"]);
  for (const [name, type] of readExposition((await apiOf(node)("GET", "/metrics")).text).types) {
    names.add(name);
    if (type === "histogram") for (const part of ["bucket", "sum", "count"]) names.add(`${name}_${part}`);
  }
  return names;
}

/** Names of measures in expressions of Prometheus. */
function asked(expressions: readonly string[]): readonly string[] {
  return expressions.flatMap((expression) => expression.match(/\b(?:patroni|matriarch)_[a-z_]+/g) ?? []);
}

describe("what is shown and what alarms", () => {
  test("the dashboard asks for measures that a node has, and nothing overlaps", async () => {
    const dashboard = await Bun.file(`${FOLDER}/dashboard.json`).json();
    const panels: { id: number; gridPos: { x: number; y: number; w: number; h: number }; targets?: { expr: string }[] }[] =
      dashboard.panels;
    const expressions = panels.flatMap(({ targets }) => targets?.map(({ expr }) => expr) ?? []);
    const names = asked([...expressions, ...dashboard.annotations.list.map(({ expr }: { expr: string }) => expr)]);
    expect(names.length).toBeGreaterThan(20);
    const shown = await shownNames();
    expect(names.filter((name) => !shown.has(name))).toEqual([]);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { gridPos } of panels) {
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(x < 24 && !taken.has(`${x}:${y}`)).toBe(true);
          taken.add(`${x}:${y}`);
        }
      }
    }
  });

  test("each alert asks for measures that a node has, and says what it is about", async () => {
    const { groups } = parse(await Bun.file(`${FOLDER}/alerts.yml`).text());
    const rules: { alert: string; expr: string; labels: { severity: string }; annotations: { summary: string } }[] = groups.flatMap(
      (group: { rules: unknown[] }) => group.rules,
    );
    const shown = await shownNames();
    expect(asked(rules.map(({ expr }) => expr)).filter((name) => !shown.has(name))).toEqual([]);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { labels, annotations } of rules) {
      expect(labels.severity).toMatch(/^(critical|warning|info)$/);
      expect(annotations.summary.length).toBeGreaterThan(10);
    }
  });
});

describe("GET /explain", () => {
  test("says of each member, or of one, what stands against its promotion", async () => {
    const ask = apiOf(new NodeUnderTest());
    const all = await ask("GET", "/explain");
    expect([all.status, all.headers.get("content-type"), JSON.parse(all.text)]).toEqual([200, "application/json", EXPLANATION as never]);
    expect(JSON.parse((await ask("GET", "/explain?member=node2")).text).members.length).toBe(1);
    const nobody = await ask("GET", "/explain?member=nobody");
    expect([nobody.status, nobody.text]).toEqual([400, "nobody is not a member"]);
  });
});
