// Owns the health paths, /liveness, /readiness and /patroni: the fast path, which stands in front of the router.
// The lock is judged at the moment of each answer; only the body is kept.

import { HEALTH_PATHS, type HealthCheck, judgeHealth, NO_QUERY, parseHealthQuery } from "../core/role-health.ts";
import type { NodeFacts, NodeService } from "../runtime/node-service.ts";
import { healthFacts } from "../runtime/role-facts.ts";
import type { AnswerHeaders } from "./headers.ts";
import { StatusText } from "./status-document.ts";

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
