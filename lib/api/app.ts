// Owns the way of a request: health paths at once, the others past the door keeper and through Hono.
// Knows nothing of sockets (server.ts) and decides nothing about HA.

import { Hono } from "hono";
import { Access } from "./access.ts";
import { textAnswer } from "./answers.ts";
import { backupRoutes } from "./backups.ts";
import { clusterRoutes } from "./cluster.ts";
import { ClusterSource } from "./cluster-source.ts";
import { configRoutes } from "./config.ts";
import type { ApiApp, ApiBindings, ApiContext, Peer } from "./context.ts";
import { EventStreams, eventRoutes } from "./events.ts";
import { explainRoutes } from "./explain.ts";
import { failsafeRoutes } from "./failsafe.ts";
import { type AnswerHeaders, answerHeaders } from "./headers.ts";
import { HealthResponder, healthCheckOf } from "./health.ts";
import { metricRoutes } from "./metrics.ts";
import { openApiRoutes } from "./openapi.ts";
import { operationRoutes } from "./operations.ts";
import { switchoverRoutes } from "./switchover.ts";

/** Requests answered at one time; a crowd beyond it is told so at once instead of eating memory. */
export const MAX_REQUESTS_IN_FLIGHT = 1024;
/** Unsafe requests at one time: each may wait long for its outcome. */
export const MAX_UNSAFE_IN_FLIGHT = 32;

/** What is taken in although nobody wants it, for the sake of the connection. */
const UNREAD_BODY_MAX_BYTES = 64 * 1024;
/** Characters of a path in the log. */
const LOGGED_TARGET_MAX = 256;

const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

export class Api {
  readonly #context: ApiContext;
  readonly #health: HealthResponder;
  readonly #access: Access;
  readonly #streams = new EventStreams();
  readonly #app: ApiApp;
  #headers: AnswerHeaders;
  #inFlight = 0;
  #unsafeInFlight = 0;

  constructor(context: ApiContext) {
    this.#context = context;
    this.#headers = answerHeaders(context.settings());
    this.#health = new HealthResponder(context.service, () => this.#headers);
    this.#access = new Access(context);
    this.#app = apiRoutes(context, this.#streams);
  }

  /** Ends the answers that have no end of their own. */
  close(): void {
    this.#streams.close();
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
    const found = await this.#app.fetch(bodyless ? asGet(path, search) : request, peer);
    if (found.status === 404) return this.#health.status(503, bodyless);
    return this.#finish(bodyless ? new Response(null, { status: found.status }) : found);
  }

  async #unsafe(request: Request, path: string, peer: Peer): Promise<Response> {
    const refusal = await this.#access.refusal(request, path, peer);
    if (refusal !== null) return withoutRest(request, refusal);
    // A primary without its store counts on this answer, and must not wait behind operators.
    if (path === "/failsafe") return withoutRest(request, await this.#app.fetch(request, peer));
    if (this.#unsafeInFlight >= MAX_UNSAFE_IN_FLIGHT) return textAnswer(503, "too many requests in progress");
    this.#unsafeInFlight++;
    try {
      return withoutRest(request, await this.#app.fetch(request, peer));
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

/** Every route but the health paths, which stand in front of them. */
export function apiRoutes(context: ApiContext, streams = new EventStreams()): ApiApp {
  const app = new Hono<ApiBindings>({ getPath: (request) => splitUrl(request.url).path });
  const source = new ClusterSource(context.service);
  clusterRoutes(app, context, source);
  configRoutes(app, context, source);
  switchoverRoutes(app, context);
  operationRoutes(app, context);
  failsafeRoutes(app, context);
  explainRoutes(app, context);
  backupRoutes(app, context);
  metricRoutes(app, context);
  eventRoutes(app, context, streams);
  openApiRoutes(app);
  app.notFound((c) =>
    SAFE_METHODS.has(c.req.method) ? textAnswer(404, "not found") : textAnswer(501, `Unsupported method ('${c.req.method}')`),
  );
  // Hono's own handler would answer without a word in the log; Api.handle has the one place for that.
  app.onError((error) => {
    throw error;
  });
  return app;
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

/** The path without doubled leading and without trailing slashes, and the query string without `?`. */
export function splitUrl(url: string): { readonly path: string; readonly search: string } {
  const pathStart = pathStartOf(url);
  if (pathStart === -1) return { path: "/", search: "" };
  const mark = url.indexOf("?", pathStart);
  const path = mark === -1 ? url.slice(pathStart) : url.slice(pathStart, mark);
  const search = mark === -1 ? "" : url.slice(mark + 1).split("#", 1)[0];
  return { path: normalisePath(path), search: search ?? "" };
}

/** -1 where there is none. A client may name no host, as load balancers with HTTP/1.0 do, or one that no URL has: the path is what is left. */
function pathStartOf(url: string): number {
  return url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
}

function normalisePath(path: string): string {
  if (path.length === 1 || (path.charCodeAt(path.length - 1) !== SLASH && path.charCodeAt(1) !== SLASH)) return path;
  return `/${path.replace(/^\/+|\/+$/g, "")}`;
}

const SLASH = 47;
