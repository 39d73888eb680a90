// Owns the connection to Consul's HTTP API: one pool for requests, one for blocking queries, absolute deadlines, the token.
// Knows whether a request left this machine, which decides between "not applied" and "outcome unknown". Knows no key and no session.

import { readFileSync } from "node:fs";
import type { Dispatcher } from "undici/index.js";
import Pool from "undici/lib/dispatcher/pool.js";
import type { Clock } from "../../model/clock.ts";
import type { ConsulConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import type { Ms } from "../../model/units.ts";

/** Connections at most, per lane. Consul itself allows 200 per client address. */
const CONNECTIONS_MAX = 32;
/** A connection that is not there by then is given up, so that a silent host does not fill the pool. */
const CONNECT_TIMEOUT_MS = 3_000;
/** Idle connections are kept for longer than any loop_wait; Consul does not close them. */
const KEEP_ALIVE_MS = 600_000;
/** The largest answer read: a whole cluster is a few KiB, one value at most 512 KiB. */
const RESPONSE_MAX_BYTES = 64 * 1024 * 1024;

export interface HttpRequest {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Escaped path, e.g. `/v1/kv/service/demo/leader`. */
  readonly path: string;
  /** `undefined` values are left out, "" is a flag without a value. */
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: string;
  /** Absolute, boot-time clock. */
  readonly deadline: Ms;
  /** Blocking queries have connections of their own: they never delay another request. */
  readonly lane?: Lane;
  readonly signal?: AbortSignal | undefined;
}

type Lane = "request" | "watch";
type ConnectionPool = InstanceType<typeof Pool>;

export interface HttpAnswer {
  readonly status: number;
  /** X-Consul-Index; null where the answer has none. */
  readonly index: number | null;
  readonly text: string;
}

/** No answer. `sent` is false only where Consul certainly has not seen the request. */
export interface NoAnswer {
  readonly sent: boolean;
  /** Never holds the token. */
  readonly reason: string;
}

export class ConsulHttp {
  readonly #clock: Clock;
  #config: ConsulConfig;
  #pools: Record<Lane, ConnectionPool>;
  /** Pools that finish what they have begun. */
  readonly #retiring = new Set<ConnectionPool>();
  #closed = false;

  /** Throws Error where a certificate file cannot be read. */
  constructor(config: ConsulConfig, clock: Clock) {
    this.#clock = clock;
    this.#config = config;
    this.#pools = openPools(config);
  }

  get config(): ConsulConfig {
    return this.#config;
  }

  /** Takes over another section (token, certificates, address …); what is under way ends as it began. Nothing once it is closed. Throws as the constructor does. */
  reconfigure(config: ConsulConfig): void {
    if (this.#closed) return;
    const pools = openPools(config);
    const old = this.#pools;
    this.#config = config;
    this.#pools = pools;
    this.#retire(old.request);
    this.#retire(old.watch);
  }

  /** Sends one request, once. */
  request(request: HttpRequest): Promise<Result<HttpAnswer, NoAnswer>> {
    if (this.#closed) return Promise.resolve(err({ sent: false, reason: "the store is closed" }));
    if (request.signal?.aborted === true) return Promise.resolve(err({ sent: false, reason: "cancelled" }));
    if (request.deadline <= this.#clock.now()) return Promise.resolve(err({ sent: false, reason: "the deadline has passed" }));
    return this.#dispatch(request, this.#pools[request.lane ?? "request"]);
  }

  /** Ends everything under way and releases the connections. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const pools = [this.#pools.request, this.#pools.watch, ...this.#retiring];
    await Promise.all(pools.map((pool) => pool.destroy(new Error("the store is closed"))));
  }

  #dispatch(request: HttpRequest, pool: ConnectionPool): Promise<Result<HttpAnswer, NoAnswer>> {
    const { token } = this.#config;
    return new Promise((resolve) => {
      let settled = false;
      let controller: Dispatcher.DispatchController | null = null;
      let answer: { status: number; index: number | null } = { status: 0, index: null };
      const chunks: Buffer[] = [];
      const body = (): string => Buffer.concat(chunks).toString("utf8");
      const timer = new AbortController();

      const settle = (result: Result<HttpAnswer, NoAnswer>): void => {
        if (settled) return;
        settled = true;
        timer.abort();
        request.signal?.removeEventListener("abort", cancel);
        resolve(result);
      };
      const giveUp = (reason: string): void => {
        settle(err({ sent: controller !== null, reason }));
        controller?.abort(new Error(reason));
      };
      const cancel = (): void => giveUp("cancelled");
      request.signal?.addEventListener("abort", cancel, { once: true });
      void this.#clock.sleepUntil(request.deadline, timer.signal).then(() => {
        if (settled) return;
        giveUp(controller === null ? "no connection before the deadline" : "no answer before the deadline");
        this.#renew(request.lane ?? "request", pool);
      });

      const handler: Dispatcher.DispatchHandler = {
        onRequestStart: (started) => {
          controller = started;
          // Given up while it waited for a connection: it must not leave any more.
          if (settled) started.abort(new Error("given up before it was sent"));
        },
        onResponseStart: (_controller, status, headers) => {
          answer = { status, index: readIndex(headers["x-consul-index"]) };
        },
        onResponseData: (_controller, chunk) => {
          chunks.push(chunk);
        },
        onResponseEnd: () => {
          settle(ok({ ...answer, text: answer.status === 200 ? body() : scrub(body(), token) }));
        },
        onResponseError: (_controller, error) => {
          const sent = controller !== null;
          settle(err({ sent, reason: scrub(describe(error), token) }));
          if (sent) this.#renew(request.lane ?? "request", pool);
        },
      };
      pool.dispatch(
        {
          method: request.method,
          path: request.path + queryText(request.query),
          headers: token === null ? {} : { "x-consul-token": token },
          body: request.body ?? null,
        },
        handler,
      );
    });
  }

  /** After a failure the connections of that pool are suspect (half open, perhaps): the next request gets fresh ones. */
  #renew(lane: Lane, failed: ConnectionPool): void {
    if (this.#closed || this.#pools[lane] !== failed) return;
    this.#pools = { ...this.#pools, [lane]: openPool(this.#config) };
    this.#retire(failed);
  }

  #retire(pool: ConnectionPool): void {
    this.#retiring.add(pool);
    // Resolves when its last request has ended, at that request's deadline at the latest.
    void pool.close().finally(() => this.#retiring.delete(pool));
  }
}

/** An error page of something in between may repeat what we sent. */
function scrub(text: string, token: string | null): string {
  return token === null || token === "" ? text : text.replaceAll(token, "***");
}

/** One string for a list of query parameters, with the leading `?`; "" for none. */
function queryText(query: HttpRequest["query"]): string {
  const parts = Object.entries(query ?? {}).flatMap(([name, value]) => {
    if (value === undefined) return [];
    return [value === "" ? name : `${name}=${encodeURIComponent(value)}`];
  });
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}

function openPools(config: ConsulConfig): Record<Lane, ConnectionPool> {
  return { request: openPool(config), watch: openPool(config) };
}

function openPool(config: ConsulConfig): ConnectionPool {
  return new Pool(config.url, {
    connections: CONNECTIONS_MAX,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    // Our own deadlines do this, to the millisecond.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxResponseSize: RESPONSE_MAX_BYTES,
    connect: {
      timeout: CONNECT_TIMEOUT_MS,
      // Said aloud, so that NODE_TLS_REJECT_UNAUTHORIZED in the environment cannot switch it off.
      rejectUnauthorized: config.verify,
      ...(config.cacert === null ? {} : { ca: readPem(config.cacert, "consul.cacert") }),
      ...(config.cert === null ? {} : { cert: readPem(config.cert, "consul.cert") }),
      // A certificate file may hold the key as well.
      ...(config.cert === null && config.key === null ? {} : { key: readPem((config.key ?? config.cert) as string, "consul.key") }),
    },
  });
}

function readPem(path: string, option: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new Error(`${option}: cannot read ${path}: ${describe(error)}`);
  }
}

function readIndex(header: string | string[] | undefined): number | null {
  if (typeof header !== "string" || !/^\d+$/.test(header)) return null;
  return Number(header);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? error.code : null;
  if (code === null || error.message.includes(code)) return error.message;
  return error.message === "" ? code : `${error.message} (${code})`;
}
