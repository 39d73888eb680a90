// Owns the health paths, /liveness, /readiness and /patroni: the fast path, which stands in front of the router.
// The lock is judged at the moment of each answer; only the body is kept.

import { HEALTH_PATHS, type HealthCheck, type HealthFacts, judgeHealth, NO_QUERY, parseHealthQuery } from "../core/role-health.ts";
import { ms } from "../model/units.ts";
import type { NodeFacts, NodeService } from "../runtime/node-service.ts";
import type { AnswerHeaders } from "./headers.ts";
import { StatusText, synchronousStanding } from "./status-document.ts";

export class HealthResponder {
  readonly #service: NodeService;
  readonly #headers: () => AnswerHeaders;
  readonly #status = new StatusText();

  constructor(service: NodeService, headers: () => AnswerHeaders) {
    this.#service = service;
    this.#headers = headers;
  }

  /** `search`: the query string without `?`; `bodyless`: HEAD or OPTIONS. */
  async check(check: HealthCheck, search: string, bodyless: boolean): Promise<Response> {
    const query = search === "" ? NO_QUERY : parseHealthQuery(search);
    const facts = check === "liveness" ? this.#service.factsNow() : await this.#service.facts();
    const status = judgeHealth(check, healthFacts(facts), query);
    if (bodyless || check === "liveness" || check === "readiness") return new Response(null, { status, headers: this.#headers().bare });
    return this.#document(facts, status);
  }

  /** GET /patroni (200), and every path that nobody knows (503). */
  async status(status: 200 | 503, bodyless: boolean): Promise<Response> {
    const facts = await this.#service.facts();
    if (bodyless) return new Response(null, { status, headers: this.#headers().bare });
    return this.#document(facts, status);
  }

  #document(facts: NodeFacts, status: 200 | 503): Response {
    return new Response(this.#status.of(facts), { status, headers: this.#headers().json });
  }
}

export function healthCheckOf(path: string): HealthCheck | null {
  return HEALTH_PATHS.get(path) ?? null;
}

function healthFacts(facts: NodeFacts): HealthFacts {
  const postgres = facts.postgres;
  return {
    running: facts.state === "running" && postgres !== null,
    inRecovery: postgres?.inRecovery ?? true,
    holdsLock: facts.holdsLock,
    leaderRole: facts.role === "primary" || facts.role === "standby_leader",
    standbyCluster: facts.dynamic.standbyCluster !== null,
    synchronous: synchronousStanding(facts),
    dcsReachable: facts.dcsReachable,
    paused: facts.paused,
    tags: facts.tags,
    replicationState: postgres?.replicationState ?? null,
    receivedLsn: postgres?.receivedLsn ?? null,
    replayedLsn: postgres?.replayedLsn ?? null,
    leaderLsn: facts.cluster?.status.optime ?? null,
    sinceLastCycleMs: ms(facts.now - facts.lastCycleAt),
    ttlMs: facts.dynamic.ttlMs,
    maximumLagOnFailoverBytes: facts.dynamic.maximumLagOnFailoverBytes,
  };
}
