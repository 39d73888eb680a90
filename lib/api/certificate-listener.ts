// Owns one listening socket for verify_client optional: TLS by node:tls, where a handler can see whether the client showed
// a valid certificate, and HTTP on the decrypted connection. Otherwise the same as listener.ts.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server, type TLSSocket } from "node:tls";
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
  const connections = new Connections();
  const http = createServer((incoming, outgoing) => {
    const socket = incoming.socket as TLSSocket;
    connections.busy(socket);
    outgoing.once("close", () => connections.idle(socket));
    void answer(options.handler, incoming, outgoing);
  });
  try {
    const server = createTlsServer({ ...serverOptions(tls), requestCert: true, rejectUnauthorized: false }, (socket) => {
      http.emit("connection", socket);
    });
    server.maxConnections = MAX_CONNECTIONS;
    // Comes before the handshake: a client that never shakes hands is counted and timed like any other.
    server.on("connection", (socket: TLSSocket) => connections.idle(socket));
    server.on("tlsClientError", (_error, socket) => socket.destroy());
    await listening(server, options);
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : options.listen.port;
    return ok({ port, stop: (graceMs) => stop(server, connections, graceMs) });
  } catch (error) {
    return err(listenFault(options.listen, error, tls));
  }
}

/** Open connections. One that waits for its next request (or its first) waits one idle timeout, however it dribbles. */
class Connections {
  readonly #waiting = new Map<TLSSocket, ReturnType<typeof setTimeout> | null>();

  idle(socket: TLSSocket): void {
    if (socket.destroyed) return;
    if (!this.#waiting.has(socket)) socket.once("close", () => this.#forget(socket));
    this.busy(socket);
    this.#waiting.set(
      socket,
      setTimeout(() => socket.destroy(), IDLE_TIMEOUT_SECONDS * 1000),
    );
  }

  busy(socket: TLSSocket): void {
    const timer = this.#waiting.get(socket);
    if (timer !== undefined && timer !== null) clearTimeout(timer);
    this.#waiting.set(socket, null);
  }

  closeAll(): void {
    for (const socket of this.#waiting.keys()) socket.destroy();
  }

  #forget(socket: TLSSocket): void {
    const timer = this.#waiting.get(socket);
    if (timer !== undefined && timer !== null) clearTimeout(timer);
    this.#waiting.delete(socket);
  }
}

function listening(server: Server, { listen }: ListenOptions): Promise<null> {
  const { promise, resolve, reject } = Promise.withResolvers<null>();
  server.once("listening", () => resolve(null));
  server.once("error", reject);
  server.listen({ host: bindAddress(listen.host), port: listen.port, reusePort: listen.port !== 0 });
  return promise;
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
    // A connection with a request on it has no timer here.
    allowSilence: () => undefined,
  });
  if (response.body !== null && response.headers.get("content-type") === "text/event-stream") {
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    return await passOn(response.body, outgoing);
  }
  const body = Buffer.from(await response.arrayBuffer());
  const headers = { ...Object.fromEntries(response.headers), "content-length": String(body.byteLength) };
  if (incoming.complete) {
    outgoing.writeHead(response.status, headers).end(body);
    return;
  }
  // What is left of the body is read by nobody: the connection goes with it, or it would fill the memory.
  outgoing.once("finish", () => socket.destroySoon());
  outgoing.writeHead(response.status, { ...headers, connection: "close" }).end(body);
}

/** An answer without an end of its own, at the pace of its reader. */
async function passOn(body: ReadableStream<Uint8Array>, outgoing: ServerResponse): Promise<void> {
  const reader = body.getReader();
  outgoing.once("close", () => void reader.cancel());
  for (;;) {
    const { done, value } = await reader.read();
    if (done || outgoing.destroyed) break;
    if (!outgoing.write(value)) await drained(outgoing);
  }
  outgoing.end();
}

/** A reader that takes nothing for an idle timeout is gone, or as good as gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => outgoing.destroy(), IDLE_TIMEOUT_SECONDS * 1000);
  const settle = (): void => {
    clearTimeout(timer);
    outgoing.off("drain", settle).off("close", settle);
    resolve();
  };
  outgoing.once("drain", settle).once("close", settle);
  return promise;
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
  return new Request(url, { method, headers, body: bodyOf(incoming) });
}

/** Reads one part of the body when one is asked for: what the handler does not want stays with the client. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  incoming.pause();
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        incoming.on("data", (part: Uint8Array) => {
          incoming.pause();
          controller.enqueue(part);
        });
        incoming.once("end", () => controller.close());
        incoming.once("error", (error) => controller.error(error));
        incoming.once("close", () => incoming.complete || controller.error(new Error("the client went away")));
      },
      pull: () => void incoming.resume(),
      cancel: () => {
        for (const event of ["data", "end"]) incoming.removeAllListeners(event);
        incoming.pause();
      },
    },
    { highWaterMark: 0 },
  );
}

async function stop(server: Server, connections: Connections, graceMs: number): Promise<void> {
  const closed = Promise.withResolvers<null>();
  server.close(() => closed.resolve(null));
  const timer = setTimeout(() => connections.closeAll(), graceMs);
  await closed.promise;
  clearTimeout(timer);
}
