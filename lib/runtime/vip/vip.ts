// Owns when the address of the primary's host is on this one: while PostgreSQL is primary here and the lease runs. It is put there
// for less than what is left of the lease, so that a supervisor that hangs or dies takes it along; the holder that goes on gives it a
// longer life with each renewal. It never holds the HA loop up, but for who releases the lock.

import type { VipConfig } from "../../model/node-config.ts";
import { type Ms, ms } from "../../model/units.ts";
import type { RunProgram } from "../../postgres/context.ts";
import { programRunner } from "../../postgres/programs.ts";
import type { NodeContext } from "../node-context.ts";
import type { ActiveTask } from "../node-state.ts";
import {
  announceAddress,
  type InterfaceParts,
  IP_MAX_MS,
  presence as onInterface,
  putAddress,
  removeAddress,
  withPrefix,
} from "./interface-address.ts";
import type { AddressStanding, ServiceAddress } from "./service-address.ts";

/** Lifetimes are whole seconds, and the kernel looks at them about once a second. */
const KERNEL_LATE_MS = 1000;
/** Renewed in the middle of the lease at the latest, as leases are; below this its lifetime could end before. */
export const SHORTEST_TTL_MS = 8000;
const RETRY_MS = 500;
/** Health checks come by the hundred, and each shows it. */
const LOOK_EVERY_MS = 1000;

/** What was put there, and when the lease ends that it was put there for: by then the kernel has taken it off. */
interface Placed {
  readonly vip: VipConfig;
  readonly goneAt: Ms;
  /** False: it may have been put there, or was found. */
  readonly sure: boolean;
}

export class Vip implements ServiceAddress {
  readonly #context: NodeContext;
  readonly #parts: InterfaceParts;
  readonly #presence: typeof onInterface;
  #placed: Placed | null = null;
  /** One command after the other. */
  #work: Promise<void> = Promise.resolve();
  #waiting = 0;
  #announcing: { readonly end: AbortController; readonly done: Promise<void> } | null = null;
  #told = "";
  #toldOfPrefix = false;
  /** The task during which it was released on purpose: it does not come back before that one is over. */
  #releasedDuring: ActiveTask | null = null;
  #looked: { readonly vip: VipConfig; readonly at: Ms; readonly standing: AddressStanding } | null = null;

  constructor(
    context: NodeContext,
    run: RunProgram = programRunner(context.state.settings.node.postgresql, context.clock),
    presence: typeof onInterface = onInterface,
  ) {
    this.#context = context;
    this.#parts = { clock: context.clock, run };
    this.#presence = presence;
  }

  /** After each cycle: brings the interface in step with what this node is. */
  note(): void {
    if (this.#waiting > 0) return;
    const { vip } = this.#context.state.settings.node;
    const wanted = this.#leaseEnd();
    const placed = this.#placed;
    if (wanted === null || JSON.stringify(placed?.vip ?? vip) !== JSON.stringify(vip)) {
      if (placed === null) this.#noteStray(vip);
      if (this.#placed !== null) void this.#enqueue(() => this.#remove());
    } else if (placed === null || !placed.sure || wanted > placed.goneAt) {
      void this.#enqueue(() => this.#put());
    }
  }

  release(): Promise<void> {
    this.#releasedDuring = this.#context.state.task;
    return this.#placed === null && this.#waiting === 0 ? Promise.resolve() : this.#enqueue(() => this.#remove());
  }

  standing(): AddressStanding | null {
    const { clock, state } = this.#context;
    const { vip } = state.settings.node;
    if (vip === null) return null;
    const now = clock.now();
    const before = this.#looked?.vip === vip ? this.#looked : null;
    if (before !== null && now - before.at < LOOK_EVERY_MS) return before.standing;
    const here = this.#presence(vip) === "here";
    const standing = before?.standing.here === here ? before.standing : { address: withPrefix(vip), interface: vip.interface, here };
    this.#looked = { vip, at: now, standing };
    return standing;
  }

  /** Where PostgreSQL goes on without this process, it stays for its lifetime: who comes next goes on with it. */
  async close(): Promise<void> {
    if (this.#leaseEnd() === null) await this.release();
    await this.#work;
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    this.#waiting += 1;
    const done = this.#work.then(work).catch((reason: unknown) => this.#context.log.error(`vip: ${String(reason)}`));
    this.#work = done.then(() => {
      this.#waiting -= 1;
      // The lease may have gone while the command ran. A look at what others put there is each cycle's alone.
      if (this.#placed !== null && this.#leaseEnd() === null) this.note();
    });
    return done;
  }

  /** End of the lease for which it may be here; null where it may not. */
  #leaseEnd(): Ms | null {
    const { state } = this.#context;
    const { dynamic, node } = state.settings;
    const held = state.heldFacts();
    if (node.vip === null || held === null || !state.leaseValid() || state.local.lastRole !== "primary") return null;
    // A hand-over says itself when it goes: until then its checkpoint and the poolers are waited for by a server that clients write to.
    if (state.task?.kind === "stop" || (state.task !== null && state.task === this.#releasedDuring)) return null;
    if (dynamic.leaseTtlMs < SHORTEST_TTL_MS) {
      this.#tell(`vip: it needs a ttl (and a consul.session_check_ttl, where one is set) of ${SHORTEST_TTL_MS / 1000} s or more`);
      return null;
    }
    const { status } = state.local;
    // A restart, or a look that failed, takes it nowhere.
    return this.#placed?.sure || (status !== null && !status.inRecovery) ? held.leaseEndsAt : null;
  }

  async #put(): Promise<void> {
    const { clock, log, state } = this.#context;
    const leaseEnd = this.#leaseEnd();
    const { vip } = state.settings.node;
    if (leaseEnd === null || vip === null) return;
    const begun = clock.now();
    const seconds = Math.floor((leaseEnd - begun - IP_MAX_MS - KERNEL_LATE_MS) / 1000);
    if (seconds < 1) return;
    const before = this.#placed;
    const isNew = before?.sure !== true;
    this.#placed = { vip, goneAt: ms(Math.max(leaseEnd, before?.goneAt ?? 0)), sure: !isNew };
    const put = await putAddress(this.#parts, vip, seconds);
    if (!put.ok) {
      // Nobody waits for the end of a lifetime that never began: what a former process left there counts until its lease ends.
      const untouched = put.error.refused && (before !== null || this.#presence(vip) !== "here");
      const left = untouched ? before : this.#placed;
      this.#placed = left === null ? null : { ...left, sure: false };
      return this.#tell(`vip: ${withPrefix(vip)} was not put on ${vip.interface}: ${put.error.message}`);
    }
    if (clock.now() - begun > IP_MAX_MS) {
      // Its lifetime may have begun late, and end after the lease.
      this.#tell(`vip: putting ${withPrefix(vip)} on ${vip.interface} took too long`);
      return await this.#remove();
    }
    this.#told = "";
    this.#placed = { ...this.#placed, sure: true };
    if (!isNew) return;
    this.#looked = null;
    log.info(`vip: ${withPrefix(vip)} is on ${vip.interface}`);
    this.#announce(vip);
  }

  async #remove(): Promise<void> {
    const { clock, log } = this.#context;
    const placed = this.#placed;
    if (placed === null) return;
    // A late announcement would lead clients here again.
    this.#announcing?.end.abort();
    await this.#announcing?.done;
    const { vip, goneAt } = placed;
    for (;;) {
      const removed = await removeAddress(this.#parts, vip);
      if (removed.ok) {
        log.info(`vip: ${withPrefix(vip)} is off ${vip.interface}`);
        this.#looked = null;
        break;
      }
      this.#tell(`vip: ${withPrefix(vip)} was not taken off ${vip.interface}: ${removed.error}`);
      if (clock.now() >= goneAt) break;
      await clock.sleepUntil(ms(Math.min(goneAt, clock.now() + RETRY_MS)));
    }
    this.#placed = null;
  }

  /** Of a former process, or of somebody else. */
  #noteStray(vip: VipConfig | null): void {
    if (vip === null) return;
    const { clock, log, state } = this.#context;
    const found = this.#presence(vip);
    if (found === "other-prefix" && !this.#toldOfPrefix)
      log.warning(`vip: ${vip.address} is on ${vip.interface} with another prefix than ${vip.prefixLength}: it is left there`);
    this.#toldOfPrefix = found === "other-prefix";
    if (found !== "here") return;
    log.warning(`vip: ${withPrefix(vip)} is on ${vip.interface}, but this node is not the primary: it is taken off`);
    this.#placed = { vip, goneAt: ms(clock.now() + state.settings.dynamic.ttlMs), sure: false };
  }

  #announce(vip: VipConfig): void {
    const end = new AbortController();
    const done = announceAddress(this.#parts, vip, end.signal).then((told) => {
      if (!told.ok) this.#context.log.warning(`vip: ${vip.address} was not announced: ${told.error}; neighbours may find it late`);
      this.#announcing = null;
    });
    this.#announcing = { end, done };
  }

  /** Once, until something else is to be told. */
  #tell(text: string): void {
    if (this.#told === text) return;
    this.#told = text;
    this.#context.log.error(text);
  }
}
