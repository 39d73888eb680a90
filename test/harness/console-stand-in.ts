// Owns a stand-in for PgBouncer's console: it speaks PostgreSQL's protocol, takes whoever comes, keeps what it is told, and answers what a
// test says. For what the real one does only in trouble; the rest is tested with a real one.

import { createServer, type Server, type Socket } from "node:net";

/** The error's text; null = done. */
export type ConsoleAnswer = (command: string) => string | null;

export class ConsoleStandIn {
  /** Commands, oldest first. */
  readonly told: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(answer: ConsoleAnswer) {
    this.#server = createServer((socket) => this.#serve(socket, answer));
  }

  static async start(answer: ConsoleAnswer): Promise<ConsoleStandIn> {
    const standIn = new ConsoleStandIn(answer);
    await new Promise<void>((resolve) => standIn.#server.listen(0, "127.0.0.1", resolve));
    return standIn;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("it listens on no port");
    return address.port;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket, answer: ConsoleAnswer): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined);
    let bytes = Buffer.alloc(0);
    let begun = false;
    socket.on("data", (part: Buffer) => {
      bytes = Buffer.concat([bytes, part]);
      for (;;) {
        // The first message has no letter in front.
        const head = begun ? 1 : 0;
        if (bytes.length < head + 4) return;
        const end = head + bytes.readUInt32BE(head);
        if (bytes.length < end) return;
        const message = bytes.subarray(0, end);
        bytes = bytes.subarray(end);
        if (!begun) socket.write(Buffer.concat([framed("R", Buffer.alloc(4)), READY]));
        else if (message.toString("latin1", 0, 1) === "Q") this.#answer(socket, message.toString("utf8", 5, end - 1), answer);
        begun = true;
      }
    });
  }

  #answer(socket: Socket, command: string, answer: ConsoleAnswer): void {
    this.told.push(command);
    const failed = answer(command);
    const said =
      failed === null ? framed("C", text(command)) : framed("E", text(`SERROR`), text("C08P01"), text(`M${failed}`), Buffer.alloc(1));
    socket.write(Buffer.concat([said, READY]));
  }
}

const READY = framed("Z", Buffer.from("I"));

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

function framed(letter: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat([...parts]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(letter), length, body]);
}
