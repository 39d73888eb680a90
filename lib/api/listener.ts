// Owns one listening socket over Bun.serve: plain HTTP, and TLS with verify_client none or required. What is answered is
// the handler's. (verify_client optional: certificate-listener.ts.)

import type { ConfigFault } from "../model/errors.ts";
import type { HostPort } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Peer } from "./context.ts";
import type { TlsMaterial } from "./tls-files.ts";

export type RequestHandler = (request: Request, peer: Peer) => Promise<Response>;

export interface Listener {
  readonly port: number;
  /** Takes no new connections; resolves when the answers under way are given, at most after the time. */
  stop(graceMs: number): Promise<void>;
}

export interface ListenOptions {
  readonly listen: HostPort;
  readonly tls: TlsMaterial | null;
  readonly verifyClient: "none" | "optional" | "required";
  /** Set where a listener of ours stands on the port already (rotation of certificates). */
  readonly besideOurOwn: boolean;
  readonly handler: RequestHandler;
}

/** Seconds without a byte after which a connection is closed: what a silent client costs. */
export const IDLE_TIMEOUT_SECONDS = 10;
/** Above the limit of body.ts, which answers with a clear text; only what is absurd is cut by the listener itself. */
const HARD_BODY_LIMIT_BYTES = 16 * 1024 * 1024;

/** Errors: restapi.listen taken or not ours, restapi.certfile or restapi.ciphers not usable. */
export async function listenWithBun(options: ListenOptions): Promise<Result<Listener, ConfigFault>> {
  const free = options.besideOurOwn ? ok(null) : await probePort(options.listen);
  if (!free.ok) return free;
  const certificate = options.verifyClient === "required" ? "verified" : "not-asked";
  const { handler, listen } = options;
  try {
    const server = Bun.serve({
      hostname: bindAddress(listen.host),
      port: listen.port,
      reusePort: listen.port !== 0,
      idleTimeout: IDLE_TIMEOUT_SECONDS,
      maxRequestBodySize: HARD_BODY_LIMIT_BYTES,
      development: false,
      ...(options.tls === null ? {} : { tls: bunTls(options.tls, options.verifyClient) }),
      fetch: (request, bun) =>
        handler(request, {
          get address() {
            return bun.requestIP(request)?.address ?? "";
          },
          certificate,
          allowSilence: (seconds) => bun.timeout(request, seconds),
        }),
    });
    return ok({ port: server.port ?? listen.port, stop: (graceMs) => stopBun(server, graceMs) });
  } catch (error) {
    return err(listenFault(listen, error, options.tls));
  }
}

function bunTls(tls: TlsMaterial, verifyClient: ListenOptions["verifyClient"]) {
  return {
    cert: tls.cert,
    key: tls.key,
    ...(tls.passphrase === null ? {} : { passphrase: tls.passphrase }),
    ...(tls.ca === null ? {} : { ca: tls.ca }),
    ...(tls.ciphers === null ? {} : { ciphers: tls.ciphers }),
    requestCert: verifyClient === "required",
    rejectUnauthorized: verifyClient === "required",
  };
}

/**
 * Listeners of ours share a port (reusePort) so that certificates can be rotated; this first try without sharing makes sure
 * that the port is not somebody else's, be it another node of ours.
 */
export async function probePort(listen: HostPort): Promise<Result<null, ConfigFault>> {
  if (listen.port === 0) return ok(null);
  try {
    const probe = Bun.listen({ hostname: bindAddress(listen.host), port: listen.port, socket: { data: () => undefined } });
    probe.stop(true);
    return ok(null);
  } catch (error) {
    return err(listenFault(listen, error, null));
  }
}

export function listenFault(listen: HostPort, error: unknown, tls: TlsMaterial | null): ConfigFault {
  const message = error instanceof Error ? error.message : String(error);
  if (/CIPHER/i.test(message)) return { path: "restapi.ciphers", message: `not usable: ${message}` };
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const place = `${listen.host}:${listen.port}`;
  if (code === "EADDRINUSE" || /in use/i.test(message)) {
    return { path: "restapi.listen", message: `${place} is taken by another process; choose a free port or end that process` };
  }
  if (tls !== null && /SSL|PEM|BoringSSL/i.test(message)) return { path: "restapi.certfile", message: `not usable: ${message}` };
  return { path: "restapi.listen", message: `cannot listen on ${place}: ${message}` };
}

/** `*` and the empty host mean every address. */
export function bindAddress(host: string): string {
  return host === "*" || host === "" ? "0.0.0.0" : host.replace(/^\[|\]$/g, "");
}

async function stopBun(server: { stop(closeActive?: boolean): Promise<void> }, graceMs: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<"late">();
  const timer = setTimeout(() => resolve("late"), graceMs);
  const outcome = await Promise.race([server.stop(false), late]);
  clearTimeout(timer);
  if (outcome === "late") await server.stop(true);
}
