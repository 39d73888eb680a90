// Owns a TCP pass-through in front of an HTTP server that counts connections and notes each request line.
// Sees the client's direction only, and requests whose head arrives in one piece, as small requests do.

import { createConnection, createServer, type Server, type Socket } from "node:net";

export class CountingProxy {
  /** `METHOD /path?query`, in the order of arrival. */
  readonly requests: string[] = [];
  /** Accepted so far. */
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(targetPort: number) {
    this.#server = createServer((client) => {
      this.connections++;
      const target = createConnection(targetPort, "127.0.0.1");
      for (const socket of [client, target]) {
        this.#sockets.add(socket);
        socket.on("error", () => socket.destroy()); // the other side notices by the close
        socket.on("close", () => this.#sockets.delete(socket));
      }
      client.on("data", (data: Buffer) => {
        for (const head of data.toString("latin1").matchAll(/^(GET|PUT|POST|DELETE) (\S+) HTTP\/1\.1\r$/gm)) {
          this.requests.push(`${head[1]} ${head[2]}`);
        }
      });
      client.pipe(target);
      target.pipe(client);
      client.on("close", () => target.destroy());
      target.on("close", () => client.destroy());
    });
  }

  /** `port` 0: any free one. */
  static async start(targetPort: number, port = 0): Promise<CountingProxy> {
    const proxy = new CountingProxy(targetPort);
    await new Promise<void>((resolve) => proxy.#server.listen(port, "127.0.0.1", resolve));
    return proxy;
  }

  /** Of loopback. Throws once it is closed. */
  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy does not listen");
    return address.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
