// Owns the way of a request: health paths at once, the others past the door keeper and through Hono.
// Knows nothing of sockets (server.ts) and decides nothing about HA.

import { Lazy } from "../model/lazy.ts";
import { Access } from "./access.ts";
import { textAnswer } from "./answers.ts";
import type { ApiApp, ApiContext, Peer } from "./context.ts";
import { EventStreams } from "./events.ts";
import { type AnswerHeaders, answerHeaders } from "./headers.ts";
import { HealthResponder, healthCheckOf } from "./health.ts";
import { pathStartOf, SAFE_METHODS, splitUrl } from "./request-target.ts";

/** Requests answered at one time; a crowd beyond it is told so at once instead of eating memory. */
export const MAX_REQUESTS_IN_FLIGHT = 1024;
/** Unsafe requests at one time: each may wait long for its outcome. */
export const MAX_UNSAFE_IN_FLIGHT = 32;

/** What is taken in although nobody wants it, for the sake of the connection. */
const UNREAD_BODY_MAX_BYTES = 64 * 1024;
/** Characters of a path in the log. */
const LOGGED_TARGET_MAX = 256;

export class Api {
  readonly #context: ApiContext;
  readonly #health: HealthResponder;
  readonly #access: Access;
  readonly #streams = new EventStreams();
  readonly #routes = new Lazy(async () => (await import("./routes.ts")).apiRoutes(this.#context, this.#streams));
  #headers: AnswerHeaders;
  #inFlight = 0;
  #unsafeInFlight = 0;

  constructor(context: ApiContext) {
    this.#context = context;
    this.#headers = answerHeaders(context.settings());
    this.#health = new HealthResponder(context.service, () => this.#headers);
    this.#access = new Access(context);
  }

  /** Ends the answers that have no end of their own. */
  close(): void {
    this.#streams.close();
  }

  /** Everything but the health paths. Loaded when first asked for, which is to be done once the listener is there: health answers before. */
  routes(): Promise<ApiApp> {
    return this.#routes.get();
  }

  /** To be called after a reload of the settings. */
  settingsChanged(): void {
    this.#headers = answerHeaders(this.#context.settings());
  }

  /** Answers one request; never rejects. */
  async handle(request: Request, peer: Peer): Promise<Response> {
    const { log } = this.#context;
    if (log.debugs?.() === false) return await this.#answer(request, peer);
    const from = performance.now();
    const response = await this.#answer(request, peer);
    log.debug(requestLine(request, peer, response.status, performance.now() - from));
    return response;
  }

  async #answer(request: Request, peer: Peer): Promise<Response> {
    if (this.#inFlight >= MAX_REQUESTS_IN_FLIGHT) return this.#finish(textAnswer(503, "too many requests in progress"));
    this.#inFlight++;
    try {
      const { path, search } = splitUrl(request.url);
      if (SAFE_METHODS.has(request.method)) return await this.#safe(request, path, search, peer);
      return this.#finish(await this.#unsafe(request, path, peer));
    } catch (error) {
      this.#context.log.error(
        `REST API: ${request.method} ${request.url}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
      return this.#finish(textAnswer(500, "internal error: see the log of this node"));
    } finally {
      this.#inFlight--;
    }
  }

  async #safe(request: Request, path: string, search: string, peer: Peer): Promise<Response> {
    const bodyless = request.method !== "GET";
    const check = healthCheckOf(path);
    if (check !== null) return this.#health.check(check, search, bodyless);
    if (path === "/patroni") return this.#health.status(200, bodyless);
    const refusal = this.#access.readRefusal(request, path);
    if (refusal !== null) return this.#finish(bodyless ? new Response(null, refusal) : refusal);
    const found = await (await this.routes()).fetch(bodyless ? asGet(path, search) : request, peer);
    if (found.status === 404) return this.#health.status(503, bodyless);
    return this.#finish(bodyless ? new Response(null, { status: found.status }) : found);
  }

  async #unsafe(request: Request, path: string, peer: Peer): Promise<Response> {
    const refusal = await this.#access.refusal(request, path, peer);
    if (refusal !== null) return withoutRest(request, refusal);
    // A primary without its store counts on this answer, and must not wait behind operators.
    if (path === "/failsafe") return withoutRest(request, await (await this.routes()).fetch(request, peer));
    if (this.#unsafeInFlight >= MAX_UNSAFE_IN_FLIGHT) return textAnswer(503, "too many requests in progress");
    this.#unsafeInFlight++;
    try {
      return withoutRest(request, await (await this.routes()).fetch(request, peer));
    } finally {
      this.#unsafeInFlight--;
    }
  }

  #finish(response: Response): Response {
    for (const [name, value] of Object.entries(this.#headers.bare)) response.headers.set(name, value);
    return response;
  }
}

/** With a host of its own: the client's may be one that no URL has, and then `request.url` is none either. */
function asGet(path: string, search: string): Request {
  return new Request(`http://node${path}${search === "" ? "" : `?${search}`}`, { method: "GET" });
}

/** Where nobody has read a large body the connection is closed with the answer: it would be taken in to its end, if it has one. */
function withoutRest({ bodyUsed, headers }: Request, response: Response): Response {
  const isLarge = headers.has("transfer-encoding") || Number(headers.get("content-length")) > UNREAD_BODY_MAX_BYTES;
  if (!bodyUsed && isLarge) response.headers.set("connection", "close");
  return response;
}

/** One request in the log: who, what, the status, how long. Of headers and bodies nothing, for they may hold secrets. */
function requestLine({ method, url }: Request, { address }: Peer, status: number, elapsedMs: number): string {
  const target = url.slice(Math.max(0, pathStartOf(url)));
  const shown = target.length > LOGGED_TARGET_MAX ? `${target.slice(0, LOGGED_TARGET_MAX)}…` : target;
  return `API: ${address} - - ${JSON.stringify(`${method} ${shown}`)} ${status} - latency: ${elapsedMs.toFixed(3)} ms`;
}
