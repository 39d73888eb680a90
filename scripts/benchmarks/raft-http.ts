// Owns questions over HTTP and JSON to any of several servers, repeated until one answers. Knows no system.

import request from "undici/lib/api/api-request.js";
import Pool from "undici/lib/dispatcher/pool.js";
import { REQUEST_BUDGET_MS } from "./raft-system.ts";

export interface Question {
  readonly method: "GET" | "PUT" | "POST";
  readonly path: string;
  readonly body?: string;
}

/** As many as the rows have writers. */
const CONNECTIONS = 64;
/** A server that does not answer by then is given up for the next: its leader may be gone. */
const ATTEMPT_MS = 250;
/** Until a refused or failed attempt is repeated. */
const AGAIN_MS = 5;

export class HttpServers {
  readonly #pools: readonly InstanceType<typeof Pool>[];
  #next = 0;

  constructor(urls: readonly string[]) {
    this.#pools = urls.map((url) => new Pool(url, { connections: CONNECTIONS, pipelining: 1, allowH2: false }));
  }

  /** The answer's text once `accept` takes it. Throws Error after REQUEST_BUDGET_MS, with the last failure. */
  async ask(question: Question, accept: (status: number, text: string) => boolean = (status) => status === 200): Promise<string> {
    const end = performance.now() + REQUEST_BUDGET_MS;
    for (;;) {
      const failure = await this.#attempt(question, accept);
      if (typeof failure !== "string") return failure.text;
      if (performance.now() > end) throw new Error(`${question.path}: ${failure}`);
      this.#next++;
      await Bun.sleep(AGAIN_MS);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#pools.map((pool) => pool.destroy()));
  }

  /** Value: the answer, or what went wrong in words. */
  async #attempt({ method, path, body }: Question, accept: (status: number, text: string) => boolean): Promise<{ text: string } | string> {
    const pool = this.#pools[this.#next % this.#pools.length] as InstanceType<typeof Pool>;
    try {
      const answer = await request.call(pool, { method, path, body: body ?? null, signal: AbortSignal.timeout(ATTEMPT_MS) });
      const text = await answer.body.text();
      return accept(answer.statusCode, text) ? { text } : `status ${answer.statusCode}: ${text}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}
