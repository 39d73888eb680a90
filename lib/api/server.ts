// Owns the life of the API's listener: start, reload (certificates are exchanged without dropping the port), stop.

import type { ConfigFault } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { RestApiConfig } from "../model/node-config.ts";
import { ok, type Result } from "../model/result.ts";
import type { NodeService } from "../runtime/node-service.ts";
import { Api } from "./app.ts";
import { type Listener, type ListenOptions, listenWithBun, type RequestHandler } from "./listener.ts";
import { readTlsFiles, type TlsMaterial } from "./tls-files.ts";

/** Answers under way at a stop get this long; at an exchange of the listener, long operations get more. */
const STOP_GRACE_MS = 500;
const EXCHANGE_GRACE_MS = 120_000;

export interface ApiServer {
  /** The port in use (differs from the configured one where that is 0). */
  readonly port: number;
  /** Takes new settings. Errors: as startApi; then the old settings stay in force. */
  reload(config: RestApiConfig): Promise<Result<null, ConfigFault>>;
  stop(): Promise<void>;
}

export interface StartApiOptions {
  readonly config: RestApiConfig;
  readonly service: NodeService;
  readonly log: Log;
  /** Epoch milliseconds, for appointments; Date.now where not given. */
  readonly wallNow?: () => number;
}

/** Errors: one fault with its path, such as `restapi.listen` for a taken port; nothing is left listening. */
export async function startApi(options: StartApiOptions): Promise<Result<ApiServer, ConfigFault>> {
  const server = new RunningServer(options);
  const started = await server.reload(options.config);
  return started.ok ? ok(server) : started;
}

class RunningServer implements ApiServer {
  readonly #api: Api;
  readonly #handler: RequestHandler;
  readonly #log: Log;
  #settings: RestApiConfig;
  #tls: TlsMaterial | null = null;
  #listener: Listener | null = null;
  /** Reloads come one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: StartApiOptions) {
    this.#settings = options.config;
    this.#log = options.log;
    this.#api = new Api({
      service: options.service,
      log: options.log,
      settings: () => this.#settings,
      wallNow: options.wallNow ?? Date.now,
    });
    this.#handler = (request, peer) => this.#api.handle(request, peer);
  }

  get port(): number {
    return this.#listener?.port ?? this.#settings.listen.port;
  }

  reload(config: RestApiConfig): Promise<Result<null, ConfigFault>> {
    const turn = this.#turn.then(() => this.#apply(config));
    // Whoever asked for it is told; the next reload is not concerned.
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async stop(): Promise<void> {
    await this.#turn;
    const listener = this.#listener;
    this.#listener = null;
    this.#api.close();
    await listener?.stop(STOP_GRACE_MS);
  }

  async #apply(config: RestApiConfig): Promise<Result<null, ConfigFault>> {
    const tls = await readTlsFiles(config);
    if (!tls.ok) return tls;
    if (this.#listener === null || this.#needsNewListener(config, tls.value)) {
      const exchanged = await this.#exchange(config, tls.value);
      if (!exchanged.ok) return exchanged;
    }
    this.#settings = config;
    this.#tls = tls.value;
    this.#api.settingsChanged();
    return ok(null);
  }

  #needsNewListener(config: RestApiConfig, tls: TlsMaterial | null): boolean {
    const { listen, verifyClient } = this.#settings;
    return (
      config.listen.host !== listen.host ||
      config.listen.port !== listen.port ||
      config.verifyClient !== verifyClient ||
      JSON.stringify(tls) !== JSON.stringify(this.#tls)
    );
  }

  async #exchange(config: RestApiConfig, tls: TlsMaterial | null): Promise<Result<null, ConfigFault>> {
    const old = this.#listener;
    const besideOurOwn = old !== null && this.#settings.listen.port === config.listen.port;
    const options = { listen: config.listen, tls, verifyClient: config.verifyClient, besideOurOwn, handler: this.#handler };
    const opened = await open(options);
    if (!opened.ok) return opened;
    this.#listener = opened.value;
    this.#api.routes().catch((error: unknown) => this.#log.error(`REST API: its routes cannot be loaded: ${String(error)}`));
    if (old !== null) {
      this.#log.info(`REST API: new listener on ${config.listen.host}:${opened.value.port}`);
      old.stop(EXCHANGE_GRACE_MS).catch((error: unknown) => this.#log.error(`REST API: the old listener did not stop: ${String(error)}`));
    }
    return ok(null);
  }
}

/** A listener that asks for a certificate and goes on without one is loaded for those who want it. */
async function open(options: ListenOptions): Promise<Result<Listener, ConfigFault>> {
  const { tls, verifyClient } = options;
  if (tls === null || verifyClient !== "optional") return await listenWithBun(options);
  const { listenWithCertificates } = await import("./certificate-listener.ts");
  return await listenWithCertificates(options, tls);
}
