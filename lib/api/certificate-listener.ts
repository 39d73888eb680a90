// Owns one listening socket for verify_client optional: TLS by node:tls, where a handler can see whether the client showed
// a valid certificate, and HTTP on the decrypted connection. Otherwise the same as listener.ts.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import type { ConfigFault } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import {
  bindAddress,
  IDLE_TIMEOUT_SECONDS,
  type Listener,
  type ListenOptions,
  listenFault,
  probePort,
  type RequestHandler,
} from "./listener.ts";
import type { TlsMaterial } from "./tls-files.ts";

/** Connections at one time; more are closed at once. */
const MAX_CONNECTIONS = 1024;

/** Errors: as listenWithBun. */
export async function listenWithCertificates(options: ListenOptions, tls: TlsMaterial): Promise<Result<Listener, ConfigFault>> {
  const free = options.besideOurOwn ? ok(null) : await probePort(options.listen);
  if (!free.ok) return free;
  const http = createServer({ keepAliveTimeout: IDLE_TIMEOUT_SECONDS * 1000 }, (request, response) => {
    void answer(options.handler, request, response);
  });
  const sockets = new Set<TLSSocket>();
  try {
    const server = createTlsServer(
      { ...serverOptions(tls), requestCert: true, rejectUnauthorized: false, handshakeTimeout: IDLE_TIMEOUT_SECONDS * 1000 },
      (socket) => {
        sockets.add(socket);
        socket.once("close", () => sockets.delete(socket));
        socket.setTimeout(IDLE_TIMEOUT_SECONDS * 1000, () => socket.destroy());
        http.emit("connection", socket);
      },
    );
    server.maxConnections = MAX_CONNECTIONS;
    const listening = Promise.withResolvers<null>();
    server.once("listening", () => listening.resolve(null));
    server.once("error", listening.reject);
    server.listen({ host: bindAddress(options.listen.host), port: options.listen.port, reusePort: options.listen.port !== 0 });
    await listening.promise;
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : options.listen.port;
    return ok({ port, stop: (graceMs) => stop(server, sockets, graceMs) });
  } catch (error) {
    return err(listenFault(options.listen, error, tls));
  }
}

function serverOptions(tls: TlsMaterial) {
  return {
    cert: tls.cert,
    key: tls.key,
    ...(tls.passphrase === null ? {} : { passphrase: tls.passphrase }),
    ...(tls.ca === null ? {} : { ca: tls.ca }),
    ...(tls.ciphers === null ? {} : { ciphers: tls.ciphers }),
  };
}

async function answer(handler: RequestHandler, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const socket = incoming.socket as TLSSocket;
  const response = await handler(toRequest(incoming), {
    address: socket.remoteAddress ?? "",
    certificate: socket.authorized ? "verified" : "unverified",
    allowSilence: (seconds) => socket.setTimeout(seconds * 1000),
  });
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(Buffer.from(await response.arrayBuffer()));
}

function toRequest(incoming: IncomingMessage): Request {
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  const method = incoming.method ?? "GET";
  const path = incoming.url?.startsWith("/") === true ? incoming.url : "/";
  const url = `https://${URL.canParse(`https://${headers.get("host")}`) ? headers.get("host") : "localhost"}${path}`;
  if (method === "GET" || method === "HEAD" || method === "OPTIONS") return new Request(url, { method, headers });
  return new Request(url, { method, headers, body: Readable.toWeb(incoming) as unknown as ReadableStream });
}

async function stop(server: { close(done: () => void): void }, sockets: ReadonlySet<TLSSocket>, graceMs: number): Promise<void> {
  const closed = Promise.withResolvers<null>();
  server.close(() => closed.resolve(null));
  const timer = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, graceMs);
  await closed.promise;
  clearTimeout(timer);
}
