// Owns what must hold after every step (safety.md): who acknowledges, until when, and what became of what was acknowledged.
// It sees the truth, which no node does, and changes nothing.

import type { FakeServer } from "./fake-server.ts";
import { acknowledges } from "./servers.ts";
import { type Branch, commonEnd, missingWal, type WalEnd } from "./wal.ts";
import type { World } from "./world.ts";

/** A look at an unfenced primary, the lock and the promotion take a few seconds together. */
const SEEN_WITHIN_MS = 12_000;

export class Invariants {
  readonly #world: World;
  /** Newest commit that was acknowledged after waiting for a standby, and newest of all. */
  #synchronous: WalEnd | null = null;
  #newest: WalEnd | null = null;
  /** The position in the `status` key, on the branch of whoever published it. */
  #published: WalEnd | null = null;
  #statusRevision = 0;
  #keyRevision = 0;
  #keyLeader: string | null = null;
  /** How many standbys the key names. */
  #keyStandbys = 0;
  /** Of the server that became primary last. */
  #leading: Branch | null = null;
  /** `who>whom` → since when an unfenced primary could be seen. */
  readonly #visible = new Map<string, number>();
  /** Unfenced primaries whose commits waited for a standby that was promoted: they can acknowledge none of them on this branch any more. */
  readonly #starved = new Map<FakeServer, Branch>();
  /** For the figures: how much acknowledged WAL automatic failovers lost where they may. */
  lostBytes = 0;
  promotions = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Invariants 1 and 3: at this instant at most one acknowledges, and none past its lease. */
  check(): void {
    const world = this.#world;
    this.#notePublished();
    let first: FakeServer | null = null;
    for (const node of world.nodes) {
      const { server } = node;
      const unfenced = node.unfenced();
      if (unfenced) this.#watchUnfenced(server);
      if (unfenced || !acknowledges(server)) continue;
      if (world.site !== null && !world.hasLeftSite) world.violation(`${server.name} acknowledges writes in a standby cluster`);
      node.noteLease();
      const boot = node.machine.boot();
      if (node.leaseEnd > 0 ? boot > node.leaseEnd : world.everLed) {
        world.violation(`${server.name} acknowledges writes ${Math.round(boot - node.leaseEnd)} ms after its lease ended`);
      }
      if (first === null) first = server;
      else world.violation(`${first.name} and ${server.name} acknowledge writes at the same time`);
    }
  }

  /** What a paused primary, which nothing fences, acknowledges after another was promoted is promised to nobody. */
  acknowledged(server: FakeServer, lsn: number, synchronous: boolean): void {
    if (server.branch !== this.#leading && this.#world.isUnfenced(server.name)) {
      if (synchronous && this.#starved.get(server) === server.branch)
        this.#world.violation(`${server.name} acknowledges synchronously, although the standby that it waits for was promoted`);
      return;
    }
    // Whom the key names has every commit, so none is acknowledged without them. Where the mode is off nothing is promised any more.
    if (!synchronous && this.#keyIsOf(server) && this.#keyStandbys > 0 && this.#world.synchronousMode() !== "off")
      this.#world.violation(`${server.name} acknowledges without a standby, although the sync key names some`);
    const end: WalEnd = { branch: server.wal.branch, lsn };
    this.#newest = end;
    if (synchronous && this.#keyIsOf(server)) this.#synchronous = end;
  }

  /** Synchronous mode is at work only from the first key of this primary on, until it takes that away. */
  #keyIsOf(server: FakeServer): boolean {
    const world = this.#world;
    const entry = world.cluster.get(world.keys.sync);
    const at = entry?.revision ?? 0;
    if (at !== this.#keyRevision) {
      this.#keyRevision = at;
      const { leader, standbys } = world.view().sync;
      this.#keyLeader = leader;
      this.#keyStandbys = standbys.length;
    }
    return this.#keyLeader === server.name;
  }

  /** Invariant 2: what was acknowledged is in the new primary's WAL, or no more is missing than was promised. */
  becamePrimary(server: FakeServer, how: "promoted" | "started"): void {
    const world = this.#world;
    const { wal } = server;
    if (how === "promoted") this.#judgeUnfenced(server);
    this.#leading = wal.branch;
    world.trace(
      server.name,
      `${how === "promoted" ? "is promoted to" : "starts as primary on"} timeline ${wal.branch.timeline} at ${wal.lsn}`,
    );
    if (how === "promoted") {
      this.promotions += 1;
      if (wal.branch.parent !== null && wal.branch.timeline <= wal.branch.parent.timeline)
        world.violation(`${server.name}'s timeline did not grow`);
    }
    const excused = world.operatorChose(server.name) || world.anyoneUnfenced();
    this.#forgetWhereOff();
    const missing = this.#synchronous === null ? 0 : missingWal(wal, this.#synchronous);
    if (this.#synchronous !== null && missing > 0) {
      if (!excused) {
        world.violation(`${server.name} became primary without ${missing} bytes of WAL that were acknowledged synchronously`);
      }
      this.#synchronous = { branch: wal.branch, lsn: commonEnd(wal, this.#synchronous) };
    }
    const lost = this.#newest === null ? 0 : missingWal(wal, this.#newest);
    if (this.#newest !== null && lost > 0) {
      if (!excused && world.synchronousMode() === "off") this.#judgeLoss(server, lost, this.#newest);
      this.lostBytes += lost;
      this.#newest = null;
    }
  }

  /** Since when each other machine could see that this primary, which nothing fences, runs. */
  #watchUnfenced(server: FakeServer): void {
    const world = this.#world;
    for (const { server: other } of world.nodes) {
      if (other === server) continue;
      const pair = `${other.name}>${server.name}`;
      const seen = server.up && server.writable && world.reaches(other.name, server.name) && world.reaches(server.name, other.name);
      if (!seen) this.#visible.delete(pair);
      else if (!this.#visible.has(pair)) this.#visible.set(pair, world.queue.now);
    }
  }

  /**
   * Nobody is promoted beside a primary that a pause left without fencing and that he had time to see (docs/adr/0004). One that another
   * has followed already, while it could not be seen, is no leader that anybody could follow again.
   */
  #judgeUnfenced(server: FakeServer): void {
    const world = this.#world;
    for (const { server: other } of world.nodes) {
      const since = this.#visible.get(`${server.name}>${other.name}`);
      if (since === undefined || !other.writable || other.branch !== this.#leading || world.queue.now - since < SEEN_WITHIN_MS) continue;
      if (other.branch !== null && waitsFor(other, server.name)) {
        this.#starved.set(other, other.branch);
        continue;
      }
      world.violation(`${server.name} was promoted although the PostgreSQL of ${other.name}, which nothing fences, still runs as primary`);
    }
  }

  /** Only the holder of the lock publishes, and it does so together with the lock's confirmation or its release. */
  #notePublished(): void {
    const world = this.#world;
    const entry = world.cluster.get(world.keys.status);
    if (entry === null || entry.revision === this.#statusRevision) return;
    this.#statusRevision = entry.revision;
    const branch = world.leader()?.server.wal.branch ?? this.#leading;
    const position = world.publishedPosition();
    if (branch !== null && position !== null) this.#published = { branch, lsn: position };
  }

  #judgeLoss(server: FakeServer, lost: number, newest: WalEnd): void {
    const world = this.#world;
    // What a primary wrote that died before it published anything was all written since: its predecessor's position is of another branch.
    const sincePublished = newest.lsn - (this.#published === null ? 0 : commonEnd(newest, this.#published));
    const allowed = world.maximumLag() + sincePublished;
    if (lost > allowed) world.violation(`${server.name} became primary and lost ${lost} bytes, ${allowed} are allowed`);
  }

  /** The cluster gives up all that it wrote itself. */
  forgetAcknowledged(): void {
    this.#synchronous = null;
    this.#newest = null;
  }

  /** Synchronous mode was switched off: nothing is promised any more. */
  forgetSynchronous(): void {
    this.#synchronous = null;
  }

  /** A primary that could not hear of it went on promising; with the key that its successor takes away that is over as well. */
  #forgetWhereOff(): void {
    if (this.#world.synchronousMode() === "off" && this.#world.view().sync.leader === null) this.forgetSynchronous();
  }

  /** At the end: the last primary has everything. */
  checkEnd(primary: FakeServer): void {
    this.#forgetWhereOff();
    if (this.#synchronous !== null && missingWal(primary.wal, this.#synchronous) > 0) {
      this.#world.violation(`at the end ${primary.name} lacks WAL that was acknowledged synchronously`);
    }
  }
}

/** No commit of it is acknowledged without that standby. */
function waitsFor({ sync }: FakeServer, name: string): boolean {
  return sync.count > 0 && sync.count === sync.names.length && sync.names.includes(name);
}
