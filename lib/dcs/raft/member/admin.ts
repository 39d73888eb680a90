// Owns what operators and newcomers ask of a member: changes of the membership, handing over the lead, a snapshot now. The core judges
// whether a change is allowed; here names become identities and outcomes become answers.

import type { Log } from "../../../model/log.ts";
import type { MemberId, RaftMember } from "../../../model/raft.ts";
import type { Result } from "../../../model/result.ts";
import type { Ms } from "../../../model/units.ts";
import { everyMember, findMember } from "../core/configuration.ts";
import type { Configuration, MembershipChange } from "../core/types.ts";
import type { ClientAnswer, ClientRequest } from "../kv/client-protocol.ts";
import type { HelloAnswer } from "../transport/hello.ts";
import type { Engine } from "./engine.ts";
import type { Forwarder } from "./forwarder.ts";
import type { Leadership } from "./leadership.ts";
import type { JoinAnswer, PeerRequest } from "./peer-protocol.ts";
import { type Requests, refusalAnswer } from "./requests.ts";

export interface AdminOptions {
  readonly self: RaftMember;
  readonly log: Log;
  readonly engine: Engine;
  readonly leadership: Leadership;
  readonly requests: Requests;
  readonly forwarder: Pick<Forwarder, "isConnected">;
  readonly configuration: () => Configuration;
  readonly leader: () => RaftMember | null;
  /** Who answers at an address, and what it says of itself. */
  readonly ask: (address: string, deadline: Ms) => Promise<Result<HelloAnswer, string>>;
  readonly clusterId: () => string | null;
}

const DONE: ClientAnswer = { kind: "done" };

export class Admin {
  readonly #options: AdminOptions;

  constructor(options: AdminOptions) {
    this.#options = options;
  }

  add(request: Extract<ClientRequest, { readonly kind: "add" }>, deadline: Ms): Promise<ClientAnswer> {
    return this.#options.requests.byLeader(request, deadline, () => this.#addHere(request, deadline));
  }

  remove(request: Extract<ClientRequest, { readonly kind: "remove" }>, deadline: Ms): Promise<ClientAnswer> {
    return this.#options.requests.byLeader(request, deadline, async () => {
      const member = this.#find(request.member);
      if (member === null) return this.#nobody(request.member);
      return this.change({ kind: "remove", id: member.id }, deadline);
    });
  }

  /** Whoever leads hands over; another member sends the asker there. Done once somebody else is known to lead. */
  async transfer(to: string | null, deadline: Ms): Promise<ClientAnswer> {
    const { engine, leadership, leader } = this.#options;
    const target = to === null ? null : this.#find(to);
    if (to !== null && target === null) return this.#nobody(to);
    if (engine.role.role !== "leader") return { kind: "not-leader", leader: leader() };
    if (target?.id === this.#options.self.id) return DONE;
    engine.push({ kind: "transfer", to: target?.id ?? null });
    for (;;) {
      const { role, leader: now } = engine.role;
      if (role !== "leader" && now !== null) return DONE;
      if (!(await leadership.change(deadline))) return { kind: "unknown-outcome", reason: "nobody has taken over in time" };
    }
  }

  async snapshot(): Promise<ClientAnswer> {
    try {
      await this.#options.engine.takeSnapshot();
      return DONE;
    } catch (error) {
      return { kind: "unavailable", reason: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Done once the change is committed. On the leader alone. */
  async change(change: MembershipChange, deadline: Ms): Promise<ClientAnswer> {
    const { engine, requests, leader } = this.#options;
    for (;;) {
      const outcome = await requests.settled(deadline, (settle) => engine.changeMembers(change, settle));
      switch (outcome.kind) {
        case "applied":
          return DONE;
        case "lost":
          return { kind: "unavailable", reason: "another leader's entries took its place" };
        case "unknown":
          return { kind: "unknown-outcome", reason: outcome.reason };
        case "refused":
          // One change at a time: the one before it ends by itself.
          if (outcome.refusal.kind === "busy" && (await this.#options.leadership.change(deadline))) continue;
          return refusalAnswer(outcome.refusal, leader());
      }
    }
  }

  /** Whether the member that asks belongs; on the leader, a newcomer is taken in. */
  async join(request: Extract<PeerRequest, { readonly kind: "join" }>, deadline: Ms): Promise<JoinAnswer> {
    const { self, engine, leader, log } = this.#options;
    const clusterId = this.#options.clusterId();
    if (request.clusterId !== clusterId) return { kind: "refused", reason: `${self.address} belongs to another cluster (${clusterId})` };
    if (engine.role.role !== "leader") return { kind: "ask-leader", address: leader()?.address ?? null };
    const { id, address } = request.from;
    const known = findMember(this.#options.configuration(), id);
    if (known !== null) return this.#stays(known, address, deadline);
    if (request.was === "voter") return this.#removal(id);
    const answer = await this.change({ kind: "add", member: { id, address }, replaces: null }, deadline);
    if (answer.kind === "done") log.info(`raft: ${address} (${id}) joins as a learner`);
    return this.#joinAnswer(answer);
  }

  /** One that cannot be found where it is entered, and finds nobody itself, is entered where it says to be. */
  async #stays(known: RaftMember, address: string, deadline: Ms): Promise<JoinAnswer> {
    const { self, forwarder, log } = this.#options;
    if (known.address === address || known.id === self.id || forwarder.isConnected(known.id)) return { kind: "member" };
    const answer = await this.change({ kind: "move", members: [{ id: known.id, address }] }, deadline);
    if (answer.kind === "done") log.info(`raft: member ${known.id} is at ${address} now`);
    return this.#joinAnswer(answer);
  }

  #joinAnswer(answer: ClientAnswer): JoinAnswer {
    switch (answer.kind) {
      case "done":
        return { kind: "member" };
      case "refused":
        return { kind: "refused", reason: answer.reason };
      case "unavailable":
      case "unknown-outcome":
        return { kind: "wait", reason: answer.reason };
      default:
        return { kind: "ask-leader", address: this.#options.leader()?.address ?? null };
    }
  }

  async #addHere(request: Extract<ClientRequest, { readonly kind: "add" }>, deadline: Ms): Promise<ClientAnswer> {
    const { address, replaces } = request;
    const asked = await this.#options.ask(address, deadline);
    if (!asked.ok) return { kind: "unavailable", reason: `${address}: ${asked.error}` };
    const { memberId: id, clusterId, address: advertised } = asked.value;
    if (everyMember(this.#options.configuration()).some((member) => member.id === id)) return DONE;
    if (clusterId === null) {
      const reason = `${address} knows no cluster yet: start it with one of this cluster's members in raft.partner_addrs; it then joins by itself`;
      return { kind: "refused", reason };
    }
    if (clusterId !== this.#options.clusterId()) return { kind: "refused", reason: `${address} belongs to another cluster (${clusterId})` };
    return this.change({ kind: "add", member: { id, address: advertised }, replaces }, deadline);
  }

  /** Its asker believes it for good: said only by a leader that still leads. One that was asleep may know nothing of a later change. */
  async #removal(id: MemberId): Promise<JoinAnswer> {
    const { engine, leader, configuration } = this.#options;
    const leads = await new Promise<boolean>((resolve) => engine.readIndex((outcome) => resolve(outcome.kind === "index")));
    if (!leads) return { kind: "ask-leader", address: leader()?.address ?? null };
    const { commit, configurationIndex } = engine.status();
    if (findMember(configuration(), id) !== null) return { kind: "member" };
    return configurationIndex <= commit ? { kind: "removed" } : { kind: "wait", reason: "a change of the membership is under way" };
  }

  #find(member: MemberId | string): RaftMember | null {
    return everyMember(this.#options.configuration()).find(({ id, address }) => id === member || address === member) ?? null;
  }

  #nobody(member: string): ClientAnswer {
    const known = everyMember(this.#options.configuration()).map(({ address }) => address);
    return { kind: "refused", reason: `no member ${member}; there are ${known.join(", ")}` };
  }
}
