// Owns scenario files: one command a line, what the cluster looks like below each `show`. The commands are in docs/simulation.md.
// A file opens with its goal and its source.

import { commandPayload } from "./ledger.ts";
import { ScenarioWorld } from "./scenario-world.ts";
import type { Seat } from "./seat.ts";
import { Violation } from "./trace.ts";
import { describeMessage, nameOf } from "./wording.ts";

const INDENT = "  ";
/** More rounds of deliveries than any scenario needs: beyond it members keep each other busy. */
const DELIVERIES_MAX = 1000;
/** Longer than any election timeout. */
const LONG_MS = 2000;

type Command = (world: ScenarioWorld, words: readonly string[]) => void;

const COMMANDS: Readonly<Record<string, Command>> = {
  /** `timeout a`: its time without a leader is over. */
  timeout: (world, words) => {
    for (const seat of seats(world, words)) {
      world.wait(seat, LONG_MS);
      seat.receive({ kind: "tick" });
      world.settle();
    }
  },
  /** `forget b c`: they have not heard of their leader for long. */
  forget: (world, words) => {
    for (const seat of seats(world, words)) world.forget(seat);
  },
  /** `heartbeat a`: the leader's next round. */
  heartbeat: (world, words) => {
    for (const seat of seats(world, words)) {
      world.wait(seat, world.timings.heartbeatMs);
      seat.receive({ kind: "tick" });
      world.settle();
    }
  },
  /** `deliver a b c`: whatever is under way among them, until nothing is. */
  deliver: (world, words) => {
    const among = seats(world, words);
    for (let round = 0; world.deliver(({ from, to }) => among.includes(from) && among.includes(to)) > 0; round++)
      if (round > DELIVERIES_MAX) throw new Violation("the members keep each other busy");
  },
  /** `pass a b [kind]`: what is under way from the one to the other now, of that kind. */
  pass: (world, [from, to, kind]) => {
    const ends = seats(world, [from ?? "", to ?? ""]);
    world.deliver((way) => way.from === ends[0] && way.to === ends[1] && (kind === undefined || way.message.kind === kind));
  },
  /** `last a b`: the newest of what is under way from the one to the other overtakes the rest. */
  last: (world, [from, to]) => {
    const [source, target] = seats(world, [from ?? "", to ?? ""]);
    const newest = world.underWay.findLast((way) => way.from === source && way.to === target);
    if (newest === undefined) throw new Error(`nothing is under way from ${from} to ${to}`);
    world.deliver((way) => way === newest);
  },
  /** `drop [a b]`: what is under way (from the one to the other) is lost. */
  drop: (world, words) => {
    const [from, to] = seats(world, words);
    world.underWay = world.underWay.filter((way) => from !== undefined && (way.from !== from || way.to !== to));
  },
  /** `elect a b c`: a stands, and is elected by them. */
  elect: (world, words) => {
    const [candidate] = seats(world, words);
    for (const seat of seats(world, words)) world.forget(seat);
    COMMANDS["timeout"]?.(world, words.slice(0, 1));
    const voters = seats(world, words);
    const isElection = (kind: string): boolean => kind === "vote-request" || kind === "vote-answer";
    const among = (way: { readonly from: Seat; readonly to: Seat }): boolean => voters.includes(way.from) && voters.includes(way.to);
    while (world.deliver((way) => among(way) && isElection(way.message.kind)) > 0);
    if (candidate?.role.role !== "leader") throw new Error(`${candidate?.name} is not elected: ${candidate?.role.role}`);
  },
  propose: (world, [at, count]) => {
    for (let left = Number(count ?? 1); left > 0; left--) {
      const id = world.nextId();
      for (const seat of seats(world, [at ?? ""])) seat.receive({ kind: "propose", id, payload: commandPayload(id) });
    }
    world.settle();
  },
  read: (world, words) => {
    for (const seat of seats(world, words)) world.read(seat);
  },
  /** `hold a`: its syncs do not end before `sync a`. */
  hold: (world, words) => {
    for (const seat of seats(world, words)) world.held.add(seat);
  },
  sync: (world, words) => {
    for (const seat of seats(world, words)) {
      world.held.delete(seat);
      seat.sync();
      world.settle();
    }
  },
  /** `crash a`: what is not synced is lost. What is under way to it as well. */
  crash: (world, words) => {
    for (const seat of seats(world, words)) {
      seat.crash(0);
      world.underWay = world.underWay.filter(({ to }) => to !== seat);
    }
  },
  /** `tear a 1`: it crashes, and one record of what was not synced is kept. */
  tear: (world, [name, records]) => {
    for (const seat of seats(world, [name ?? ""])) {
      seat.crash(Number(records));
      world.underWay = world.underWay.filter(({ to }) => to !== seat);
    }
    COMMANDS["sync"]?.(world, [name ?? ""]);
  },
  start: (world, words) => {
    for (const seat of seats(world, words)) seat.start();
    world.settle();
  },
  snapshot: (world, words) => {
    for (const seat of seats(world, words)) seat.shelf.save();
    world.settle();
  },
  /** `rot a 3`: a restarts, and what it had behind entry 3 cannot be read any more. */
  rot: (world, [name, behind]) => {
    for (const seat of seats(world, [name ?? ""])) {
      seat.crash(0);
      seat.disk.rot(Number(behind));
      seat.start();
    }
    world.settle();
  },
  /** `lose a b`: a hears that the process of b is gone. */
  lose: (world, words) => {
    const [at, lost] = seats(world, words);
    at?.receive({ kind: "peer-lost", peer: (lost as Seat).member.id });
    world.settle();
  },
  /** `add a d [b]`: the leader a is asked to add d (in the place of b). */
  add: (world, [at, name, replaced]) => {
    const newcomer = world.seats.find((seat) => seat.name === name) ?? world.newcomer();
    const [old] = replaced === undefined ? [] : seats(world, [replaced]);
    const change = { kind: "add", member: newcomer.member, replaces: old?.member.id ?? null } as const;
    for (const seat of seats(world, [at ?? ""])) seat.receive({ kind: "change-members", id: world.nextId(), change });
    world.settle();
  },
  remove: (world, [at, name]) => {
    const [leaving] = seats(world, [name ?? ""]);
    const change = { kind: "remove", id: (leaving as Seat).member.id } as const;
    for (const seat of seats(world, [at ?? ""])) seat.receive({ kind: "change-members", id: world.nextId(), change });
    world.settle();
  },
  transfer: (world, [at, name]) => {
    const [to] = name === undefined ? [] : seats(world, [name]);
    for (const seat of seats(world, [at ?? ""])) seat.receive({ kind: "transfer", to: to?.member.id ?? null });
    world.settle();
  },
};

/** Commands below which stands what is seen. */
const LOOKS: Readonly<Record<string, (world: ScenarioWorld) => readonly string[]>> = { show, times };

/** The file with what the cluster really looks like below each `show` and `times`. Throws Violation, or Error where a line cannot be done. */
export function runScenario(text: string): string {
  let world: ScenarioWorld | null = null;
  const lines: string[] = [];
  for (const line of text.trimEnd().split("\n")) {
    if (line.startsWith(INDENT)) continue;
    lines.push(line);
    const [command = "", ...words] = (line.split("#")[0] ?? "").trim().split(/\s+/);
    if (command === "") continue;
    if (command === "members") {
      world = new ScenarioWorld(Number(words[0]));
      continue;
    }
    if (world === null) throw new Error("a scenario begins with `members N`");
    const look = LOOKS[command];
    if (look !== undefined) {
      lines.push(...look(world).map((shown) => `${INDENT}${shown}`));
      continue;
    }
    const perform = COMMANDS[command];
    if (perform === undefined) throw new Error(`no such command: ${line}`);
    perform(world, words);
  }
  return `${lines.join("\n")}\n`;
}

function seats(world: ScenarioWorld, names: readonly string[]): readonly Seat[] {
  return names.map((name) => {
    const seat = world.seats.find((candidate) => candidate.name === name);
    if (seat === undefined) throw new Error(`there is no member ${name}`);
    return seat;
  });
}

/** The cluster time in ms with which each entry of a member's log is stamped. */
function times(world: ScenarioWorld): readonly string[] {
  const alive = world.seats.filter((seat) => seat.alive);
  return alive.map(({ name, written }) => `${name} ${written.entries.map(({ index, time }) => `${index}:${Math.round(time)}`).join(" ")}`);
}

/** Each member's role, term, vote and log (`index:term`, `|` behind what it applied), then what is under way and was answered. */
function show(world: ScenarioWorld): readonly string[] {
  const members = world.seats.map((seat) => {
    if (!seat.alive) return `${seat.name} down`;
    const { written, role, disk } = seat;
    const base = written.base > 0 ? [`(snapshot ${disk.newest.meta.index})`] : [];
    const log = written.entries.map(
      (entry) => `${entry.index}:${entry.term}${entry.kind === "configuration" ? "c" : ""}${entry.index === seat.applied ? " |" : ""}`,
    );
    const voters = seat.configuration.voters.map(({ id }) => nameOf(id)).join("");
    const outgoing = seat.configuration.outgoing === null ? "" : ` and ${seat.configuration.outgoing.map(({ id }) => nameOf(id)).join("")}`;
    return `${seat.name} ${role.role} t${role.term} of ${nameOf(role.leader)} voters ${voters}${outgoing}${
      seat.health === "whole" ? "" : " damaged"
    }: ${[...base, ...log].join(" ")}`;
  });
  const way = world.underWay.map(({ from, to, message }) => `${from.name}>${to.name} ${describeMessage(message)}`);
  const { answers } = world;
  world.answers = [];
  return [...members, ...way, ...answers, `committed ${world.ledger.committed}`];
}
