// Owns the clients of simulated members: production's own client (it registers, repeats, gives up) over a channel to some member,
// and the history of what it asked and was answered, for the checkers of linearizability.ts.

import { RaftCommands } from "../../../lib/dcs/raft/client/commands.ts";
import type { ClientAnswer, ClientRequest } from "../../../lib/dcs/raft/kv/client-protocol.ts";
import type { Command, Query } from "../../../lib/dcs/raft/kv/command.ts";
import { ms } from "../../../lib/model/units.ts";
import type { Random } from "../../simulation/random.ts";
import type { EventQueue } from "../../simulation/virtual-clock.ts";
import type { CommandOperation, Operation } from "../history.ts";
import { type Host, TrueClock } from "./host.ts";
import type { WholeSettings } from "./whole-settings.ts";

/** A search over longer histories would not end: clients fall silent then. */
export const OPERATIONS_MAX = 120;
const PATIENCE_MS = 3000;
const KEYS = ["a/1", "a/2", "b/1"] as const;

export interface ClientWorld {
  readonly queue: EventQueue;
  readonly random: Random;
  readonly settings: WholeSettings;
  readonly hosts: readonly Host[];
}

export class WholeClients {
  readonly operations: Operation[] = [];
  readonly #world: ClientWorld;
  readonly #clients: WholeClient[];
  #begun = 0;

  constructor(world: ClientWorld) {
    this.#world = world;
    this.#clients = Array.from({ length: world.settings.clients }, (_, number) => new WholeClient(world, `client${number}`));
  }

  /** Each client goes on until the instant. */
  start(until: number): void {
    const { queue, random, settings } = this.#world;
    for (const client of this.#clients) {
      const next = (): void => {
        if (queue.now >= until || this.#begun >= OPERATIONS_MAX) return;
        this.#begun += 1;
        void client.operate().then((operation) => {
          if (operation !== null) this.operations.push(operation);
          queue.after(settings.thinkMs * 2 * random.next(), next);
        });
      };
      queue.after(settings.thinkMs * random.next(), next);
    }
  }

  /** What is still unanswered at the end of the run may have happened, or never. */
  finish(): readonly Operation[] {
    for (const client of this.#clients) if (client.open !== null) this.operations.push(client.open);
    return this.operations;
  }
}

class WholeClient {
  /** A command that has got no answer yet. */
  open: CommandOperation | null = null;
  readonly #world: ClientWorld;
  readonly #name: string;
  readonly #commands: RaftCommands;
  readonly #identities = new Map<Command, { readonly client: string; readonly sequence: number }>();
  #session: string | null = null;
  #values = 0;

  constructor(world: ClientWorld, name: string) {
    this.#world = world;
    this.#name = name;
    this.#commands = new RaftCommands({
      channel: { request: (request, deadline) => this.#ask(request, deadline) },
      clock: new TrueClock(world.queue),
      random: (bytes) => Uint8Array.from({ length: bytes }, () => world.random.whole(0, 255)),
    });
  }

  operate(): Promise<Operation | null> {
    return this.#world.random.chance(0.4) ? this.#query() : this.#command();
  }

  async #command(): Promise<Operation> {
    const { queue } = this.#world;
    const command = this.#draw();
    const invokedAt = queue.now;
    const base = { kind: "command", who: this.#name, command, invokedAt } as const;
    const identity = (): CommandOperation["identity"] => this.#identities.get(command) ?? null;
    this.open = {
      ...base,
      answeredAt: null,
      answer: null,
      get identity() {
        return identity();
      },
    };
    const answer = await this.#commands.run(command, ms(invokedAt + PATIENCE_MS));
    this.open = null;
    if (!answer.ok && answer.error.kind === "session-gone") this.#session = null;
    // Who knows nothing has got no answer: it may happen at any time yet.
    const known = answer.ok || answer.error.kind !== "unknown-outcome";
    return { ...base, answeredAt: known ? queue.now : null, answer: known ? answer : null, identity: identity() };
  }

  async #query(): Promise<Operation | null> {
    const { queue, random } = this.#world;
    const query: Query =
      this.#session !== null && random.chance(0.3)
        ? { kind: "session-info", id: this.#session }
        : { kind: "snapshot", prefix: random.pick(["a/", "b/1", "a/1"]), consistency: random.chance(0.9) ? "linearizable" : "stale" };
    const invokedAt = queue.now;
    const answer = await this.#ask({ kind: "query", query }, ms(invokedAt + PATIENCE_MS));
    if (answer.kind !== "query") return null;
    return { kind: "query", who: this.#name, query, value: answer.value, invokedAt, answeredAt: queue.now, index: null };
  }

  /** Any member that this client can think of. */
  #ask(request: ClientRequest, deadline: number): Promise<ClientAnswer> {
    const { random, hosts } = this.#world;
    if (request.kind === "command" && request.envelope.client !== null) {
      const { client, sequence, command } = request.envelope;
      this.#identities.set(command, { client, sequence });
    }
    return random.pick(hosts).request(request, deadline);
  }

  #draw(): Command {
    const { random, settings } = this.#world;
    this.#values += 1;
    const key = random.pick(KEYS);
    const value = `${this.#name}.${this.#values}`;
    const die = random.next();
    if (this.#session === null && die < 0.3) {
      this.#session = `${this.#name}-s${this.#values}`;
      return { kind: "open-session", id: this.#session, name: this.#name, ttl: ms(settings.ttlMs), place: null };
    }
    if (this.#session !== null && die < 0.25) return { kind: "renew-session", id: this.#session };
    if (this.#session !== null && die < 0.3) {
      const id = this.#session;
      this.#session = null;
      return { kind: "close-session", id };
    }
    if (this.#session !== null && die < 0.5)
      return { kind: "change", changes: [{ kind: "put", key: "b/1", value, session: this.#session, condition: { kind: "absent" } }] };
    if (die < 0.6) return { kind: "change", changes: [{ kind: "put", key, value, condition: { kind: "absent" } }] };
    if (die < 0.7) return { kind: "change", changes: [{ kind: "delete", key }] };
    return { kind: "change", changes: [{ kind: "put", key, value }] };
  }
}
