// Owns one simulated member: the core over a machine with a clock, a disk and a state machine that is a hash. It does what
// the driver does with the core's output, in the same order, and gives everything that leaves the core to the checks.

import { decodeConfiguration } from "../../../lib/dcs/raft/core/configuration.ts";
import { Raft } from "../../../lib/dcs/raft/core/raft.ts";
import type { Configuration, LogEntry, Output, RaftEvent, RoleState, WriteBatch } from "../../../lib/dcs/raft/core/types.ts";
import { type MemberId, memberId, type RaftMember, term } from "../../../lib/model/raft.ts";
import type { Fires, SimEvent } from "../../simulation/virtual-clock.ts";
import { stateHash } from "./ledger.ts";
import { CutLog, MachineDisk, type SavedSnapshot } from "./machine-disk.ts";
import { checkMessage } from "./message-checks.ts";
import { SeatTimer } from "./seat-timer.ts";
import { crashesAtPoint, type SeatWorld } from "./seat-world.ts";
import { SnapshotShelf } from "./snapshot-shelf.ts";
import { asItIs, Violation } from "./trace.ts";
import { describeRole, describeWrites, heard } from "./wording.ts";

export class Seat {
  readonly world: SeatWorld;
  readonly name: string;
  readonly number: number;
  readonly member: RaftMember;
  readonly disk: MachineDisk;
  readonly shelf: SnapshotShelf;
  readonly clock: { rate: number; offset: number };
  state: "running" | "paused" | "down" = "down";
  /** As the committed configuration tells it; who was removed does not come back. */
  membership: "never" | "member" | "removed" = "never";
  /** Grows at each start: what was meant for an earlier life does not reach a later one. */
  life = 0;
  raft: Raft | null = null;
  role: RoleState = { role: "follower", term: term(0), leader: null };
  /** Everything given to the disk, durable or not. */
  written: CutLog = new CutLog(0, 0, []);
  /** What the core has handed out as committed, and what the state machine stands at (a loaded snapshot runs ahead). */
  delivered = 0;
  applied = 0;
  hash = 0;
  configuration: Configuration;
  configurationIndex = 0;
  /** By which the core may have counted in the current step. */
  counting: readonly Configuration[] | null = null;
  /** In force at the last applied entry. */
  appliedConfiguration: Configuration;
  appliedConfigurationIndex = 0;
  /** Votes that left this machine, over all its lives. */
  readonly votes = new Map<number, MemberId>();
  highestTermSent = 0;
  /** As the core has it: damaged, it neither votes nor acknowledges. */
  health: "whole" | "damaged" = "whole";
  /** What has come; and the list that the last turn has done with, to be used again. */
  #inbox: RaftEvent[] = [];
  #handled: RaftEvent[] = [];
  #turn: SimEvent | null = null;
  readonly #timer: SeatTimer;
  #syncing = false;

  constructor(world: SeatWorld, options: { readonly number: number; readonly founding: SavedSnapshot; readonly rate: number }) {
    this.world = world;
    this.number = options.number;
    this.name = String.fromCharCode(97 + (options.number % 26)).repeat(1 + Math.floor(options.number / 26));
    this.member = memberNumber(options.number);
    this.clock = { rate: options.rate, offset: 0 };
    this.disk = new MachineDisk(options.founding);
    this.shelf = new SnapshotShelf(this);
    this.#timer = new SeatTimer(world.queue, this.clock, () => this.receive({ kind: "tick" }));
    this.configuration = options.founding.meta.configuration;
    this.appliedConfiguration = this.configuration;
  }

  get alive(): boolean {
    return this.state === "running" || this.state === "paused";
  }

  localTime(): number {
    return this.clock.offset + this.world.queue.now * this.clock.rate;
  }

  start(): void {
    if (this.state !== "down") return;
    const { disk, world } = this;
    this.life += 1;
    this.state = "running";
    const snapshot = disk.newest;
    const entries = disk.entriesToStart();
    const { meta } = snapshot;
    this.written = new CutLog(disk.log.base, disk.log.baseTerm, [...disk.log.entries]);
    this.delivered = meta.index;
    this.applied = meta.index;
    this.hash = snapshot.hash;
    this.appliedConfiguration = meta.configuration;
    this.appliedConfigurationIndex = meta.configurationIndex;
    this.role = { role: "follower", term: disk.hardState.term, leader: null };
    if (disk.hardState.term < this.highestTermSent)
      throw new Violation(`${this.name} starts at term ${disk.hardState.term} after it spoke in term ${this.highestTermSent}`);
    this.clock.offset = world.random.whole(0, 1_000_000);
    this.#inbox = [];
    this.#syncing = false;
    this.health = disk.mark;
    world.trace.record(
      world.queue.now,
      this.name,
      `starts: term ${disk.hardState.term}, snapshot ${meta.index}, ${entries.length} entries`,
      asItIs,
    );
    this.raft = new Raft({
      id: this.member.id,
      timings: world.timings,
      random: () => world.random.next(),
      now: this.localTime(),
      hardState: disk.hardState,
      snapshot: meta,
      snapshotSize: snapshot.size,
      entries,
      log: disk.mark,
    });
    ({ configuration: this.configuration, configurationIndex: this.configurationIndex } = this.raft.status());
    this.receive({ kind: "tick" });
  }

  /** The process or its machine dies; what was not synced survives as the disk pleases. */
  crash(keptRecords: number | "any" = "any"): void {
    if (!this.alive) return;
    this.state = "down";
    this.raft = null;
    this.life += 1;
    this.#inbox = [];
    this.#timer.cancel();
    if (this.#turn !== null) this.#turn.run = null;
    this.#turn = null;
    this.#syncing = false;
    this.shelf.forget();
    if (keptRecords === "any") this.disk.crash(this.world.random);
    else this.disk.tear(keptRecords);
    this.world.ledger.checkDurable(() => `after the crash of ${this.name}`);
  }

  pause(): void {
    if (this.state === "running") this.state = "paused";
  }

  resume(): void {
    if (this.state !== "paused") return;
    this.state = "running";
    this.receive({ kind: "tick" });
  }

  /** An event for the core; dropped where there is none. */
  receive(event: RaftEvent): void {
    if (this.raft === null) return;
    this.#inbox.push(event);
    if (this.state !== "running" || this.#turn !== null) return;
    const delay = this.world.turnDelay();
    if (delay === 0) this.#step();
    else
      this.#turn = this.world.queue.after(delay, () => {
        this.#turn = null;
        if (this.state === "running") this.#step();
      });
  }

  #step(): void {
    const { raft, world } = this;
    const events = this.#inbox;
    if (raft === null || events.length === 0) return;
    this.#inbox = this.#handled;
    this.#handled = events;
    const { trace } = world;
    trace.events += events.length;
    trace.mix((world.queue.now * 1000) ^ (this.number << 20));
    for (const event of events) {
      trace.mix(event.kind.length);
      if (event.kind !== "tick" && event.kind !== "written") trace.record(world.queue.now, this.name, event, heard);
      // The index is the core's from the moment that it is told; before, it may still deliver entries up to there.
      if (event.kind === "snapshot-installed") this.delivered = Math.max(this.delivered, event.meta.index);
    }
    const output = raft.step(this.localTime(), events);
    events.length = 0;
    this.#handle(output);
  }

  #handle(output: Output): void {
    const { world } = this;
    const { ledger } = world;
    const wasLeader = this.role.role === "leader" ? this.role.term : 0;
    if (output.role !== null) this.#changeRole(output.role);
    if (output.writes !== null) this.#write(output.writes, output.role?.role === "leader");
    if (output.role?.role === "leader") ledger.leads(this.name, this.role.term, (index) => this.written.termAt(index));
    this.counting = null;
    if (output.configuration !== null) {
      this.counting = [this.configuration, output.configuration.configuration];
      this.configuration = output.configuration.configuration;
      this.configurationIndex = output.configuration.index;
    }
    if (output.repaired === "whole") {
      this.health = "whole";
      this.disk.repaired();
      ledger.checkDurable(() => `after ${this.name} was made whole`);
    }
    if (output.committed.length > 0) this.#apply(output.committed, wasLeader);
    for (const { to, message } of output.messages) {
      world.trace.mix(message.term ^ message.kind.length);
      checkMessage(this, to, message);
    }
    if (crashesAtPoint(this, output)) return;
    for (const { to, message } of output.messages) world.send(this, to, message);
    for (const chunk of output.chunksToSend) this.shelf.send(chunk);
    for (const chunk of output.received) this.shelf.receive(chunk);
    world.answered(this, output, output.committed);
    this.#timer.set(output.timerAt);
    this.shelf.saveWhenDue();
  }

  #changeRole(role: RoleState): void {
    const { trace, queue } = this.world;
    if (role.term < this.role.term) throw new Violation(`${this.name}: the term goes back from ${this.role.term} to ${role.term}`);
    trace.record(queue.now, this.name, role, describeRole);
    const { hardState } = this.disk;
    if (role.role === "leader" && (hardState.term !== role.term || hardState.votedFor !== this.member.id))
      throw new Violation(`${this.name} leads term ${role.term} before its own vote is durable`);
    this.role = role;
  }

  #write(batch: WriteBatch, leads: boolean): void {
    const { world, written } = this;
    world.trace.record(world.queue.now, this.name, batch, describeWrites);
    // A leader creates entries of its term in the step that made it one.
    if (leads) world.ledger.leads(this.name, this.role.term, (index) => written.termAt(index));
    for (const write of batch.writes) {
      if (write.kind === "reset") written.reset(write.index, write.term);
      if (write.kind !== "append") continue;
      for (const entry of write.entries) {
        const before =
          written.entries[entry.index - written.base - 2] ??
          ({ term: written.baseTerm, time: world.ledger.committedEntry(entry.index - 1)?.time ?? 0 } as const);
        world.ledger.appended(this.name, entry, before, world.queue.now);
        written.put(entry);
      }
    }
    this.disk.submit(batch);
    this.sync();
  }

  /** Begins a sync of what waits unless one runs. */
  sync(): void {
    if (this.#syncing || !this.disk.busy || !this.alive) return;
    const delay = this.world.syncDelay(this);
    if (delay === null) return;
    this.#syncing = true;
    this.disk.beginSync();
    this.world.queue.enter(this.world.queue.now + delay, new SyncEnd(this));
  }

  /** The running sync ends. */
  synced(): void {
    this.#syncing = false;
    const { world } = this;
    if (world.syncFails(this)) return;
    const { shrinks } = this.disk;
    const sequence = this.disk.endSync();
    if (this.disk.shrinks > shrinks) world.ledger.checkDurable(() => `after ${this.name} took entries away`);
    if (world.point(this, "durable")) return;
    this.receive({ kind: "written", sequence });
    this.sync();
  }

  #apply(entries: readonly LogEntry[], wasLeader: number): void {
    const { ledger } = this.world;
    const before = ledger.committed;
    for (const entry of entries) {
      if (entry.index !== this.delivered + 1) throw new Violation(`${this.name} is given ${entry.index} to apply after ${this.delivered}`);
      this.delivered = entry.index;
      ledger.commits(this.name, entry);
      if (entry.index <= this.applied) continue;
      this.applied = entry.index;
      this.hash = stateHash(this.hash, entry);
      if (entry.kind === "configuration") {
        this.appliedConfiguration = decodeConfiguration(entry.payload);
        this.appliedConfigurationIndex = entry.index;
      }
    }
    if (this.hash !== ledger.hashAt(this.applied)) throw new Violation(`${this.name} has another state than others at ${this.applied}`);
    if (ledger.committed === before) return;
    if (wasLeader !== 0 && this.role.role === "leader" && (entries.at(-1) as LogEntry).term !== this.role.term) this.#checkCounting();
    ledger.checkDurable(() => `committed by ${this.name}`, this.counting ?? [this.configuration]);
  }

  /** What a leader commits by counting ends in its own term. */
  #checkCounting(): void {
    const { commit } = (this.raft as Raft).status();
    const at = this.written.termAt(commit);
    if (at !== this.role.term)
      throw new Violation(`${this.name} leads term ${this.role.term} and commits ${commit} of term ${at} by counting`);
  }
}

/** Of the sync that runs, unless the machine or the process dies before: one object, as every write of every member has one. */
class SyncEnd implements SimEvent, Fires {
  run: Fires | null = this;
  readonly #seat: Seat;
  readonly #life: number;

  constructor(seat: Seat) {
    this.#seat = seat;
    this.#life = seat.life;
  }

  fire(): void {
    if (this.#seat.life === this.#life) this.#seat.synced();
  }
}

/** The identity of the machine with that number. */
export function memberNumber(number: number): RaftMember {
  const id = memberId((number + 1).toString(16).padStart(32, "0"));
  if (id === null) throw new Error(`no identity for ${number}`);
  return { id, address: `10.0.0.${number + 1}:2380` };
}
