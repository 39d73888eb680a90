// Goal: `ctl restore --undo` takes back what has led only where the node that has the old data leads and can, and says what is lost; before that,
// and on the way back itself, it goes the other way. Method: the command itself over a key in memory.

import { expect, test } from "bun:test";
import type { Cluster } from "../../../../lib/model/cluster.ts";
import { type RestoreRequest, unreadableRestore } from "../../../../lib/model/restore.ts";
import { err, ok } from "../../../../lib/model/result.ts";
import { revision } from "../../../../lib/model/units.ts";
import { cluster, member } from "../../core/observations.ts";
import { runRestore } from "./overhaul-command.ts";
import { scriptedTerminal } from "./scripted-terminal.ts";

const ID = "20260131-120000";
const product = { name: "Matriarch", version: "1" };
const members = [member("a", { role: "primary", product }), member("b", { product })];
const leader = (name: string) => ({ name, session: `s-${name}`, revision: revision(4) });

function request(fields: Partial<RestoreRequest>): RestoreRequest {
  return { ...unreadableRestore(revision(3)), ...{ id: ID, phase: "done", node: "a", label: "F", timeline: 2, message: null, ...fields } };
}

interface Given {
  readonly obstacle?: string;
  readonly meanwhile?: RestoreRequest;
}

const undone = (restore: RestoreRequest, over: Partial<Cluster> = {}, given: Given = {}) =>
  asked(["--undo", "--no-wait"], restore, over, given);

async function asked(words: readonly string[], restore: RestoreRequest, over: Partial<Cluster> = {}, given: Given = {}) {
  let now = cluster({ members, leader: leader("a"), restore, ...over });
  const written: string[] = [];
  const paths: string[] = [];
  const terminal = {
    ...scriptedTerminal(),
    readLine: async () => {
      if (given.meanwhile !== undefined) now = { ...now, restore: given.meanwhile };
      return "y";
    },
  };
  const failure = await runRestore(words, {
    terminal,
    cluster: () => now,
    values: {
      setRestoreValue: async ({ phase, direction, timeline, cloned }, expected) => {
        if (expected !== now.restore?.revision) return err({ kind: "condition-failed", message: "it has changed" });
        written.push(`${phase} ${direction} ${timeline} ${cloned.length}`);
        return ok(revision(99));
      },
    },
    answer: (path) => {
      paths.push(path);
      return ok({ status: 200, text: JSON.stringify({ obstacle: given.obstacle ?? null }) });
    },
  });
  return { failure, written, asked: paths, out: terminal.said.out };
}

test("what has led is stopped and taken back after a question that says what is lost, and each member was asked for that restore", async () => {
  for (const phase of ["clone", "done"] as const) {
    const done = await undone(request({ phase, cloned: ["b"] }));
    expect(done).toMatchObject({
      failure: null,
      written: ["stop back 2 0"],
      out: expect.stringContaining("What was written since is lost"),
    });
    expect(new Set(done.asked)).toEqual(new Set([`/restore?back=${ID}`]));
  }
});

test("it is refused where another node leads, the old data is gone, or the cluster is paused; and where it was taken back already", async () => {
  const refused = async (why: string, ...given: Parameters<typeof undone>) =>
    expect(await undone(...given)).toMatchObject({ failure: expect.stringContaining(why), written: [] });
  await refused("a has the data from before it, and does not lead", request({}), { leader: leader("b") });
  await refused("a leads, and cannot restore: it is not there any more", request({}), {}, { obstacle: "it is not there any more" });
  await refused("taken back already", request({ direction: "back" }));
  await refused("the cluster went on without it", request({ message: "abandoned" }));
  await refused("gone on meanwhile", request({}), {}, { meanwhile: request({ id: "20260131-130000", revision: revision(5) }) });
});

test("what has not led goes the other way, and so does a way back that fails", async () => {
  expect(await undone(request({ phase: "failed", timeline: null }))).toMatchObject({ failure: null, written: ["undo forward null 0"] });
  const failed = await undone(request({ phase: "failed", direction: "back" }));
  expect(failed).toMatchObject({ failure: null, written: ["undo back 2 0"], out: expect.stringContaining("go on with what was restored") });
});

test("given up once its data has led, it says that the DCS measures the others by that, and how one of them is made to lead", async () => {
  const lost = { leader: null, members: [member("b", { product })] };
  const word = /of the data on a, which has led: where nobody takes the lead, say who is to, with ctl failover \S+ --candidate NAME/;
  for (const direction of ["back", "forward"] as const) {
    expect((await asked(["--abandon"], request({ phase: "clone", direction }), lost)).out).toMatch(word);
    expect((await asked(["--abandon"], request({ phase: "restore", direction }), lost)).out).not.toContain("ctl failover");
  }
});

test("given up, its node being lost, it is asked whether the others go on with what they have, and it is never said to be taken back", async () => {
  const lost = { leader: null, members: [member("b", { product })] };
  const forward = await asked(["--abandon"], request({ phase: "restore" }), lost);
  expect(forward).toMatchObject({ failure: null, written: ["done forward 2 0"], out: expect.stringContaining("go on with the old data?") });
  const back = await asked(["--abandon"], request({ phase: "restore", direction: "back" }), lost);
  expect(back).toMatchObject({ failure: null, written: ["done back 2 0"], out: expect.stringContaining("go on with what was restored?") });
  const abandoned = request({ direction: "back", message: "abandoned: the other members went on with what was restored" });
  const status = await asked(["--status"], abandoned);
  expect(status.out).toContain(`${ID}: done (abandoned`);
  const again = await undone(abandoned);
  expect(again.failure).toContain("went on with what was restored");
  for (const text of [status.out, again.failure]) expect(text).not.toContain("taken back");
  expect((await asked(["--status"], request({ direction: "back" }))).out).toContain("taken back");
});
