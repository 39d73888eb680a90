// Owns the Network over TCP, with or without mutual TLS, on Bun's sockets. Knows no frame and no password.

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Socket, SocketHandler } from "bun";
import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import { type Ms, ms } from "../../../model/units.ts";
import { formatHostAndPort, parseHostAndPort } from "./host-port.ts";
import type { ConnectError, Connection, Listener, Network } from "./network.ts";
import type { Security } from "./security.ts";
import { TcpConnection } from "./tcp-connection.ts";
import { TlsFiles, type TlsMaterial } from "./tls-material.ts";

/** Addresses of one name that are tried in one attempt; each gets an equal part of the time that is left. */
const ADDRESSES_MAX = 8;

/** A socket's own data is its connection; unset until TLS is put on top. */
type Handlers = SocketHandler<TcpConnection | undefined>;
type TcpSocket = Socket<TcpConnection | undefined>;

/** Throws Error where the TLS files cannot be used: a member that cannot prove itself must not start. */
export function tcpNetwork(options: { readonly clock: Clock; readonly security: Security; readonly log: Log }): Network {
  const { clock, security, log } = options;
  const files = security.kind === "tls" ? new TlsFiles(security, clock, log) : null;
  const names = new Names();
  return {
    listen: async (address, accept) => listen(address, accept, files),
    connect: (address, deadline) => connect({ address, deadline, clock, names, files }),
  };
}

function listen(address: string, accept: (connection: Connection) => void, files: TlsFiles | null): Listener {
  const at = parseHostAndPort(address);
  if (at === null) throw new Error(`not an address with a port: ${address}`);
  const socket = files === null ? acceptPlain(accept) : acceptTls(accept, files);
  const listener = Bun.listen({ hostname: at.host, port: at.port, socket });
  return { address: formatHostAndPort(at.host, listener.port), close: () => listener.stop() };
}

/**
 * Bun hands what a handler throws to the handler `error`, beside the socket's own errors. What we throw is a broken invariant
 * and has to end the process: so it is thrown again where nobody catches it.
 */
function loud<P extends readonly unknown[]>(handler: (...parameters: P) => void): (...parameters: P) => void {
  return (...parameters) => {
    try {
      handler(...parameters);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
}

/** What both sides do with a connection that is there. */
const TRAFFIC = {
  data: loud((socket: TcpSocket, bytes: Uint8Array) => socket.data?.received(bytes)),
  drain: loud((socket: TcpSocket) => socket.data?.drained()),
  close: loud((socket: TcpSocket, error?: Error) => socket.data?.ended(error)),
  // The socket's own errors: `close` follows, with the same error.
  error: () => {},
} as const satisfies Handlers;

function acceptPlain(accept: (connection: Connection) => void): Handlers {
  return {
    ...TRAFFIC,
    open: loud((socket: TcpSocket) => {
      socket.data = new TcpConnection(socket, remoteOf(socket), "plain");
      accept(socket.data);
    }),
  };
}

/** TLS is put on each accepted connection by itself, so that each uses the files as they are then. */
function acceptTls(accept: (connection: Connection) => void, files: TlsFiles): Handlers {
  const handlers = { ...TRAFFIC, handshake: loud(checkHandshake) };
  return {
    open: loud((tcp: TcpSocket) => {
      const remote = remoteOf(tcp);
      const [, socket] = tcp.upgradeTLS<TcpConnection | undefined>({ ...SERVER_SIDE, tls: files.material(), socket: handlers });
      socket.data = new TcpConnection(socket, remote, "tls");
      accept(socket.data);
    }),
    // What arrives here is the sealed side of what the handlers above see.
    data: () => {},
    error: () => {},
  };
}

/** A socket whose other side is gone by the time it opens has no address, whatever Bun's types say. */
function remoteOf(socket: TcpSocket): string {
  const host: string | undefined = socket.remoteAddress;
  return host === undefined ? "somebody who is gone" : formatHostAndPort(host, socket.remotePort);
}

/** Known to Bun, not to its types. */
const SERVER_SIDE = { isServer: true };

/** Bun calls it with success also where the certificate is not to be trusted: all three have to say so. */
function checkHandshake(socket: TcpSocket, success: boolean, error: Error | null): void {
  if (success && error === null && socket.authorized) socket.data?.secured();
  else socket.data?.untrusted(tlsFault(error));
}

function tlsFault(error: Error | null): string {
  const code = error !== null && "code" in error ? String(error.code) : "";
  return `TLS failed${code === "" ? "" : ` (${code})`}: ${error?.message || "no certificate that is trusted here"}`;
}

interface ConnectOptions {
  readonly address: string;
  readonly deadline: Ms;
  readonly clock: Clock;
  readonly names: Names;
  readonly files: TlsFiles | null;
}

async function connect(options: ConnectOptions): Promise<Connection | ConnectError> {
  const { address, deadline, clock, names, files } = options;
  const at = parseHostAndPort(address);
  if (at === null) return { kind: "unreachable", message: `not an address with a port: ${address}` };
  const resolved = await names.resolve(at.host, deadline - clock.now());
  if ("kind" in resolved) return resolved;
  const errors: ConnectError[] = [];
  for (const [place, host] of resolved.entries()) {
    const now = clock.now();
    const until = ms(now + (deadline - now) / (resolved.length - place));
    const answer = await connectTo({ host, port: at.port, name: at.host, withinMs: until - now, tls: files?.material() ?? null });
    if (!("kind" in answer)) return answer;
    errors.push(answer);
  }
  // Nobody is there only if nobody is at any of its addresses.
  const telling = errors.find(({ kind }) => kind !== "refused") ?? errors[0];
  return telling ?? { kind: "unreachable", message: `${at.host} has no address` };
}

interface Target {
  readonly host: string;
  readonly port: number;
  /** What the certificate has to be for. */
  readonly name: string;
  readonly withinMs: number;
  readonly tls: TlsMaterial | null;
}

function connectTo({ host, port, name, withinMs, tls }: Target): Promise<Connection | ConnectError> {
  return new Promise((resolve) => {
    let settled = false;
    const settle = (answer: Connection | ConnectError): void => {
      settled = true;
      clearTimeout(timer);
      resolve(answer);
    };
    const fail = (error: Error): void => settle(connectError(error));
    let pending: TcpConnection | null = null;
    const late = (): void => {
      settle({ kind: "timeout", message: "it does not answer" });
      pending?.close();
    };
    const timer = setTimeout(late, Math.max(0, withinMs));
    const socket: Handlers = {
      ...TRAFFIC,
      open: loud((opened: TcpSocket) => {
        if (settled) {
          opened.terminate();
          return;
        }
        const connection = new TcpConnection(opened, remoteOf(opened), tls === null ? "plain" : "tls");
        opened.data = connection;
        pending = connection;
        connection.onClose = (_cause, reason) => settle({ kind: "tls", message: reason ?? "TLS failed" });
        if (tls === null) settle(connection);
      }),
      handshake: loud((opened: TcpSocket, success: boolean, error: Error | null) => {
        checkHandshake(opened, success, error);
        if (!settled && opened.data !== undefined) settle(opened.data);
      }),
      connectError: (_socket, error) => fail(error),
    };
    const secure = tls === null ? {} : { tls: { ...tls, serverName: name } };
    Bun.connect({ hostname: host, port, ...secure, socket }).catch(fail);
  });
}

/** Bun says ECONNREFUSED also where no way leads to the host (ENETUNREACH): it hides the difference. */
function connectError(error: Error): ConnectError {
  const code = "code" in error ? String(error.code) : "";
  if (code === "ECONNREFUSED") return { kind: "refused", message: "nobody listens there, or no way leads there" };
  return { kind: code === "ETIMEDOUT" ? "timeout" : "unreachable", message: `${error.message}${code === "" ? "" : ` (${code})`}` };
}

/** Names, resolved anew each time; one question for a name at one time, however long the resolver takes. */
class Names {
  readonly #asking = new Map<string, Promise<readonly string[] | ConnectError>>();

  async resolve(host: string, withinMs: number): Promise<readonly string[] | ConnectError> {
    if (isIP(host) !== 0) return [host];
    const answer = this.#asking.get(host) ?? this.#ask(host);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<ConnectError>((resolve) => {
      timer = setTimeout(() => resolve({ kind: "timeout", message: `the name ${host} was not resolved in time` }), Math.max(0, withinMs));
    });
    const first = await Promise.race([answer, late]);
    clearTimeout(timer);
    return first;
  }

  #ask(host: string): Promise<readonly string[] | ConnectError> {
    const answer = lookup(host, { all: true }).then(
      (found) => [...new Set(found.map(({ address }) => address))].slice(0, ADDRESSES_MAX),
      (error: Error): ConnectError => ({ kind: "unreachable", message: `the name ${host} cannot be resolved: ${error.message}` }),
    );
    this.#asking.set(host, answer);
    void answer.then(() => this.#asking.delete(host));
    return answer;
  }
}
