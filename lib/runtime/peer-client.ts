// Owns the requests between members over their REST APIs (contract §10): TLS with the client certificate, password or token
// where one may be wanted, an absolute deadline each. Retries nothing, decides nothing, keeps no answer.

import { formatJson } from "../core/json-text.ts";
import type { PeerStatus } from "../core/observation.ts";
import { isProtectable } from "../model/api-access.ts";
import type { Clock } from "../model/clock.ts";
import type { ConfigFault } from "../model/errors.ts";
import type { FailsafeAnswer, FailsafeHeartbeat } from "../model/failsafe.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import { lsn, type Ms } from "../model/units.ts";
import type { PeerSource } from "./node-context.ts";
import type { PeerAgent } from "./peer-agent.ts";
import { corePeerStatus, decodePeerDocument, type PeerDocument } from "./peer-document.ts";

/**
 * - `unreachable`: no connection, TLS included; certainly nothing was done.
 * - `timeout`: the deadline passed; an unsafe request may or may not have been applied.
 * - `bad-answer`: something answered that is no member, or the connection broke in the middle.
 */
export interface PeerError {
  readonly kind: "unreachable" | "timeout" | "bad-answer";
  readonly message: string;
}

export interface PeerAnswer {
  readonly status: number;
  readonly text: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What a request between members needs of the node's configuration. */
export type PeerSettings = Pick<NodeConfig, "ctl" | "restapi">;

export class PeerClient implements PeerSource {
  readonly #clock: Clock;
  #settings: PeerSettings;
  /** Null until somebody needs it; the files are read once, and whoever asks first waits for that. */
  #agent: Promise<Result<PeerAgent, ConfigFault>> | null = null;
  readonly #open: typeof openAgent;
  /** The header Authorization; null where there is nothing to show. */
  #credential: string | null;

  /** `open`: the HTTP client with the certificates of these settings; default: the one that is loaded when it is needed. */
  constructor(options: PeerSettings & { readonly clock: Clock; readonly open?: typeof openAgent }) {
    this.#clock = options.clock;
    this.#open = options.open ?? openAgent;
    this.#settings = options;
    this.#credential = credentialOf(options);
  }

  async #ready(): Promise<Result<PeerAgent, ConfigFault>> {
    const agent = this.#agent ?? this.#open(this.#settings);
    this.#agent = agent;
    try {
      return await agent;
    } catch (reason) {
      // What could not be loaded now is tried again with the next request: failsafe mode counts on each of them.
      if (this.#agent === agent) this.#agent = null;
      return err({ path: "the HTTP client", message: `it cannot be loaded: ${String(reason)}` });
    }
  }

  /**
   * Loads the HTTP client and reads the certificates, so that no later request has to: a disk may not answer then. Value: what is in the
   * way; null: nothing.
   */
  async fault(): Promise<ConfigFault | null> {
    const agent = await this.#ready();
    return agent.ok ? null : agent.error;
  }

  /** Takes new settings and certificates; requests under way finish with the old ones. Errors: a file that cannot be read; then nothing changes. */
  async reload(settings: PeerSettings): Promise<Result<null, ConfigFault>> {
    const agent = await this.#open(settings);
    if (!agent.ok) return agent;
    const old = this.#agent === null ? null : await this.#ready();
    this.#settings = settings;
    this.#agent = Promise.resolve(agent);
    this.#credential = credentialOf(settings);
    if (old?.ok === true) await old.value.close();
    return ok(null);
  }

  /** GET /patroni of a member. `apiUrl`: as the member publishes it, with or without `/patroni`. */
  async status(apiUrl: string, deadline: Ms): Promise<Result<PeerDocument, PeerError>> {
    const answer = await this.send("GET", apiUrl, "/patroni", null, deadline);
    if (!answer.ok) return answer;
    if (answer.value.status !== 200) return err({ kind: "bad-answer", message: `GET /patroni answered ${answer.value.status}` });
    const document = decodePeerDocument(answer.value.text);
    return document.ok ? document : err({ kind: "bad-answer", message: document.error });
  }

  /** What the decision needs of a member; null when it gives no usable answer by the deadline. */
  async ask(apiUrl: string, deadline: Ms): Promise<PeerStatus | null> {
    const document = await this.status(apiUrl, deadline);
    return document.ok ? corePeerStatus(document.value) : null;
  }

  /** As the primary: the heartbeat of failsafe mode. Fields in Patroni's order; `ttl` (in seconds) is ours. */
  async failsafe(apiUrl: string, beat: FailsafeHeartbeat, deadline: Ms): Promise<FailsafeAnswer> {
    const { name, connUrl, slots, ttl } = beat;
    const body = { name, conn_url: connUrl, api_url: beat.apiUrl, slots, ...(ttl === null ? {} : { ttl: ttl / 1000 }) };
    const answer = await this.post(apiUrl, "/failsafe", body, deadline);
    if (!answer.ok) return { kind: "silent", reason: answer.error.message };
    const { status, text, headers } = answer.value;
    if (status !== 200) return { kind: "refused", status, text };
    const position = headers["lsn"] ?? "";
    return { kind: "accepted", lsn: /^\d{1,20}$/.test(position) ? lsn(BigInt(position)) : null };
  }

  /** POST of a JSON object. Every HTTP status is an answer; what it means is for the caller. */
  post(apiUrl: string, path: string, body: Readonly<Record<string, unknown>>, deadline: Ms): Promise<Result<PeerAnswer, PeerError>> {
    return this.send("POST", apiUrl, path, body, deadline);
  }

  /** `path`: e.g. `/switchover`; the credential goes with every method but GET, and with GET of a path that may be closed. */
  async send(
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
    apiUrl: string,
    path: string,
    body: Readonly<Record<string, unknown>> | null,
    deadline: Ms,
  ): Promise<Result<PeerAnswer, PeerError>> {
    const origin = URL.parse(apiUrl)?.origin;
    if (origin === undefined || origin === "null") return err({ kind: "unreachable", message: `${apiUrl} is no url` });
    const agent = await this.#ready();
    if (!agent.ok) return err({ kind: "unreachable", message: `${agent.error.path}: ${agent.error.message}` });
    const left = deadline - this.#clock.now();
    if (left <= 0) return err({ kind: "timeout", message: "the deadline had passed before the request was sent" });
    const signal = AbortSignal.timeout(Math.ceil(left));
    const exchange = async (): Promise<PeerAnswer> => {
      const response = await agent.value.request({
        origin,
        path,
        method,
        signal,
        headers: this.#headers({ method, path }, body !== null),
        body: body === null ? null : formatJson(body),
      });
      const text = await response.body.text();
      return { status: response.statusCode, text, headers: flatHeaders(response.headers) };
    };
    try {
      return ok(await Promise.race([exchange(), rejectsOnAbort(signal)]));
    } catch (error) {
      return err(signal.aborted ? { kind: "timeout", message: "no answer by the deadline" } : peerError(error));
    }
  }

  /** Gives up requests under way. */
  async close(): Promise<void> {
    const agent = this.#agent === null ? null : await this.#ready();
    if (agent?.ok === true) await agent.value.destroy();
  }

  #headers({ method, path }: { readonly method: string; readonly path: string }, hasBody: boolean): Record<string, string> {
    const headers: Record<string, string> = hasBody ? { "content-type": "application/json" } : {};
    if (this.#credential !== null && (method !== "GET" || isProtectable(path))) headers["authorization"] = this.#credential;
    return headers;
  }
}

/** Its modules are many: a starting node has none of them before it needs them. */
async function openAgent(settings: PeerSettings): Promise<Result<PeerAgent, ConfigFault>> {
  const { makeAgent } = await import("./peer-agent.ts");
  return await makeAgent(settings);
}

function credentialOf({ ctl, restapi }: PeerSettings): string | null {
  if (ctl.token !== null) return `Bearer ${ctl.token}`;
  const authentication = ctl.authentication ?? restapi.authentication;
  if (authentication === null) return null;
  return `Basic ${Buffer.from(`${authentication.username}:${authentication.password}`).toString("base64")}`;
}

/**
 * The client itself looks at the signal only once it has a connection, and a silent host gives none: an aborted request is
 * then dropped unsent, but it would hold its caller until the connection attempt ends.
 */
function rejectsOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
}

function flatHeaders(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name.toLowerCase()] = Array.isArray(value) ? value.join(", ") : value;
  }
  return flat;
}

/** Codes of a connection that never came about. Anything else may have happened after the request was sent. */
const NO_CONNECTION =
  /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENOTFOUND|EAI_\w+|UND_ERR_CONNECT_TIMEOUT|CERT_\w+|ERR_TLS_\w+|UNABLE_TO_\w+|\w*SELF_SIGNED\w*)$/;

function peerError(error: unknown): PeerError {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  return { kind: NO_CONNECTION.test(code) ? "unreachable" : "bad-answer", message: code === "" ? message : `${message} (${code})` };
}
