// Owns programs that want one lock: each on a machine of its own, with production's store and production's arithmetic of the lease, whose
// machine is suspended, whose process is stopped and whose wall clock jumps. At no instant may two of them believe that they hold it.

import { leaseEnd } from "../../../lib/core/lease.ts";
import type { ClientRequest } from "../../../lib/dcs/raft/kv/client-protocol.ts";
import { RaftStore } from "../../../lib/dcs/raft/store.ts";
import type { Session } from "../../../lib/dcs/store.ts";
import { type Ms, ms } from "../../../lib/model/units.ts";
import { MachineClock, SimProcess } from "../../simulation/virtual-clock.ts";
import type { Trace } from "./trace.ts";
import { Violation } from "./trace.ts";
import type { ClientWorld } from "./whole-clients.ts";

const LOCK = "lock/leader";
/** Of the ttl: how often the lease is renewed, or the lock asked for. */
const RENEW_SHARE = 1 / 4;
/** Between two acts of whoever believes that it holds the lock: what it does in the product is to let PostgreSQL write. */
const ACT_MS = 20;
/** The lease's margin must not eat it up. */
const TTL_MIN_MS = 1000;

export interface HolderWorld extends ClientWorld {
  readonly trace: Trace;
}

export class LeaseHolders {
  readonly holders: readonly LeaseHolder[];
  /** How often somebody acted as the holder. */
  acts = 0;
  violation: Violation | null = null;
  readonly #world: HolderWorld;

  constructor(world: HolderWorld) {
    this.#world = world;
    this.holders = Array.from({ length: world.settings.holders }, (_, number) => new LeaseHolder(world, this, number));
  }

  start(until: number): void {
    for (const holder of this.holders) void holder.run(until);
  }

  /** The holder acts: nobody else may be able to at the same instant. */
  acted(holder: LeaseHolder): void {
    this.acts += 1;
    const other = this.holders.find((one) => one !== holder && one.believes);
    if (other !== undefined) this.violation ??= new Violation(`${holder.name} and ${other.name} hold the lock at ${this.#world.queue.now}`);
  }

  /** Stops a machine for twice the ttl, now or behind its next renewal; its clock counts on. Value: whose. */
  suspend(): string | null {
    const { random } = this.#world;
    const awake = this.holders.filter(({ isAwake }) => isAwake);
    if (awake.length === 0) return null;
    const victim = awake.find(({ believes }) => believes) ?? random.pick(awake);
    const when = random.pick(["now", "renewing"] as const);
    victim.suspend(when);
    return `${victim.name} ${when}`;
  }

  jumpWall(byMs: number): void {
    for (const holder of this.holders) holder.jumpWall(byMs);
  }
}

export class LeaseHolder {
  readonly name: string;
  readonly #world: HolderWorld;
  readonly #all: LeaseHolders;
  readonly #machine: MachineClock;
  readonly #process: SimProcess;
  readonly #store: RaftStore;
  readonly #ttl: Ms;
  #session: Session | null = null;
  #leaseEndsAt: Ms | null = null;
  /** For the trace: what a clock that stands still in a suspend would have missed. */
  #sleptMs = 0;
  #suspendedAt = 0;
  /** Once its next renewal is on its way. */
  #suspends = false;

  constructor(world: HolderWorld, all: LeaseHolders, number: number) {
    const { queue, random, settings } = world;
    this.#world = world;
    this.#all = all;
    this.name = `holder${number}`;
    this.#ttl = ms(Math.max(TTL_MIN_MS, settings.ttlMs));
    const { clockError } = settings;
    this.#machine = new MachineClock(queue, { rate: 1 + random.between(-clockError, clockError), uptime: random.between(0, 1e6) });
    this.#process = new SimProcess(queue, this.#machine);
    this.#store = new RaftStore({
      channel: {
        request: (request, deadline) =>
          new Promise((resolve) => {
            const answer = random.pick(world.hosts).request(request, this.#machine.trueTime(deadline));
            void answer.then((value) => this.#process.deliver(() => resolve(value)));
            if (this.#suspends && isRenewal(request)) this.suspend("now");
          }),
      },
      clock: this.#process,
      random: (bytes) => Uint8Array.from({ length: bytes }, () => random.whole(0, 255)),
    });
  }

  get isAwake(): boolean {
    return this.#process.state === "running";
  }

  /** Whether it would act now, if it were asked. */
  get believes(): boolean {
    return this.isAwake && this.#leaseEndsAt !== null && this.#now() < this.#leaseEndsAt;
  }

  suspend(when: "now" | "renewing"): void {
    this.#suspends = when === "renewing";
    if (this.#suspends || !this.isAwake) return;
    const { queue } = this.#world;
    this.#suspendedAt = queue.now;
    this.#process.stop();
    queue.after(2 * this.#ttl, () => this.#resume());
  }

  #resume(): void {
    if (this.isAwake) return;
    this.#sleptMs += this.#world.queue.now - this.#suspendedAt;
    this.#world.trace.record(
      this.#world.queue.now,
      this.name,
      this.#sleptMs,
      (slept) => `wakes up; suspended for ${slept.toFixed(0)} ms in all`,
    );
    this.#process.resume();
    if (this.believes) this.#all.acted(this);
  }

  jumpWall(byMs: number): void {
    this.#machine.wallOffset += byMs;
  }

  async run(until: number): Promise<void> {
    const { queue } = this.#world;
    void this.#act(until);
    while (queue.now < until) {
      await this.#turn();
      await this.#process.sleepUntil(ms(this.#process.now() + this.#ttl * RENEW_SHARE * (0.5 + this.#world.random.next())));
    }
  }

  /** One renewal, or one attempt to take the lock. */
  async #turn(): Promise<void> {
    const confirmedAt = this.#now();
    const deadline = ms(this.#process.now() + this.#ttl / 2);
    if (this.#session === null) {
      const opened = await this.#store.openSession({ name: this.name, ttl: this.#ttl, deadline });
      if (opened.ok) this.#session = opened.value;
      return;
    }
    const session = this.#session;
    const mine = (await this.#owns(session, deadline)) || (await this.#take(session, deadline));
    // The session that owns the lock lives at an instant after all that: so the lock is still its own.
    const renewed = await this.#store.renewSession(session.id, { deadline });
    if (!renewed.ok && renewed.error.kind === "session-gone") this.#lost();
    if (!renewed.ok || !mine) return;
    this.#leaseEndsAt = leaseEnd({ confirmedAt, ttl: this.#ttl, promised: renewed.value.promisedMs });
    if (this.believes) this.#all.acted(this);
  }

  async #owns(session: Session, deadline: Ms): Promise<boolean> {
    const read = await this.#store.snapshot(LOCK, { deadline });
    return read.ok && read.value.entries.some((entry) => entry.session === session.id);
  }

  async #take(session: Session, deadline: Ms): Promise<boolean> {
    return (await this.#store.put(LOCK, this.name, { deadline, condition: { kind: "absent" }, session: session.id })).ok;
  }

  #lost(): void {
    this.#session = null;
    this.#leaseEndsAt = null;
  }

  async #act(until: number): Promise<void> {
    while (this.#world.queue.now < until) {
      if (this.believes) this.#all.acted(this);
      await this.#process.sleepUntil(ms(this.#process.now() + ACT_MS));
    }
  }

  /** What the lease counts by: it goes on while the machine is suspended. */
  #now(): Ms {
    return this.#process.now();
  }
}

function isRenewal(request: ClientRequest): boolean {
  return request.kind === "command" && request.envelope.command.kind === "renew-session";
}
