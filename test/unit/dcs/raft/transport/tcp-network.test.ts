// Owns the tests of the network over real sockets: slow readers, ends, and what comes instead of a connection.

import { afterEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { connect as connectSocket, type Socket } from "node:net";
import { formatHostAndPort, parseHostAndPort } from "../../../../../lib/dcs/raft/transport/host-port.ts";
import { type Connection, type Listener, QUEUE_MAX_BYTES } from "../../../../../lib/dcs/raft/transport/network.ts";
import { tcpNetwork } from "../../../../../lib/dcs/raft/transport/tcp-network.ts";
import { type Ms, ms } from "../../../../../lib/model/units.ts";
import { realClock } from "../../../../../lib/runtime/clock.ts";
import { serverPorts } from "../../../../harness/ports.ts";
import { recordingLog } from "../../../../harness/recording-log.ts";
import { ownMs } from "../../../../harness/stall.ts";
import { until } from "../../../../harness/wait.ts";

const clock = realClock();
const network = tcpNetwork({ clock, security: { kind: "plain" }, log: recordingLog() });
const open: (() => void)[] = [];
const inMs = (durationMs: number): Ms => ms(clock.now() + durationMs);

afterEach(() => {
  for (const close of open.splice(0)) close();
});

/** A listener, and the first connection that it accepts. */
async function listening(): Promise<{ readonly listener: Listener; readonly accepted: Promise<Connection> }> {
  const { promise, resolve } = Promise.withResolvers<Connection>();
  const listener = await network.listen("127.0.0.1:0", resolve);
  open.push(() => listener.close());
  return { listener, accepted: promise };
}

function reader(address: string): Socket {
  const at = parseHostAndPort(address);
  const socket = connectSocket(at?.port ?? 0, at?.host);
  socket.on("error", () => {});
  open.push(() => socket.destroy());
  return socket;
}

async function connected(address: string): Promise<Connection> {
  const connection = await network.connect(address, inMs(60_000));
  if ("kind" in connection) throw new Error(connection.message);
  open.push(() => connection.close());
  return connection;
}

describe("a connection over TCP", () => {
  test("brings everything, in order, to a reader that stops now and then, from a buffer that is used again", async () => {
    const { listener, accepted } = await listening();
    const socket = reader(listener.address);
    const received = createHash("sha256");
    let count = 0;
    socket.on("data", (chunk: Buffer) => {
      received.update(chunk);
      count += chunk.length;
      socket.pause();
      setImmediate(() => socket.resume());
    });
    const connection = await accepted;
    const sent = createHash("sha256");
    const buffer = Buffer.alloc(700_001);
    for (let round = 0; round < 40; round++) {
      buffer.fill(round);
      buffer[round] = round * 3;
      sent.update(buffer);
      connection.write(buffer);
    }
    expect(connection.queued).toBeGreaterThan(0);
    await until("everything is there", () => count === 40 * buffer.length, { withinMs: 60_000 });
    expect(received.digest("hex")).toBe(sent.digest("hex"));
    expect(connection.queued).toBe(0);
  });

  test("to somebody who does not read closes itself when its queue is full", async () => {
    const { listener, accepted } = await listening();
    reader(listener.address).pause();
    const connection = await accepted;
    const causes: string[] = [];
    connection.onClose = (cause) => void causes.push(cause);
    const buffer = new Uint8Array(4_000_000);
    let written = 0;
    for (; causes.length === 0 && written < 4 * QUEUE_MAX_BYTES; written += buffer.length) {
      connection.write(buffer);
      expect(connection.queued).toBeLessThanOrEqual(QUEUE_MAX_BYTES);
    }
    expect(causes).toEqual(["local"]);
    expect(written).toBeGreaterThan(QUEUE_MAX_BYTES);
    connection.write(buffer);
    connection.close();
    expect(connection.queued).toBe(0);
    expect(causes).toEqual(["local"]);
  });

  test("that is closed still brings what was written before", async () => {
    const { listener, accepted } = await listening();
    const socket = reader(listener.address);
    let count = 0;
    socket.on("data", (chunk: Buffer) => {
      count += chunk.length;
    });
    const connection = await accepted;
    connection.write(new Uint8Array(8_000_000));
    connection.close();
    await new Promise((resolve) => socket.once("close", resolve));
    expect(count).toBe(8_000_000);
  });

  test("tells the end of the other side once, and takes nothing more", async () => {
    const { listener, accepted } = await listening();
    const mine = await connected(listener.address);
    const causes: string[] = [];
    mine.onClose = (cause) => void causes.push(cause);
    const theirs = await accepted;
    theirs.close();
    await until("the end is told", () => causes.length > 0, { withinMs: 60_000 });
    mine.write(Uint8Array.of(1));
    mine.close();
    expect(causes).toEqual(["reset"]);
  });

  test("whose other side was reset is gone", async () => {
    const { listener, accepted } = await listening();
    const socket = reader(listener.address);
    const connection = await accepted;
    const causes: string[] = [];
    connection.onClose = (cause) => void causes.push(cause);
    socket.resetAndDestroy();
    await until("the reset is told", () => causes.length > 0, { withinMs: 60_000 });
    expect(causes).toEqual(["reset"]);
  });
});

describe("instead of a connection", () => {
  test("nobody listens: refused", async () => {
    const [port = 0] = await serverPorts(1);
    expect(await network.connect(`127.0.0.1:${port}`, inMs(60_000))).toEqual({
      kind: "refused",
      message: "nobody listens there, or no way leads there",
    });
  });

  test("a name that takes too long, or a host that says nothing: the deadline is kept", async () => {
    const [begun, from] = [clock.now(), performance.now()];
    const answers = await Promise.all([network.connect("127.0.0.1:9", begun), network.connect("nobody.invalid:9", begun)]);
    for (const answer of answers) expect("kind" in answer).toBe(true);
    expect(ownMs(from)).toBeLessThan(1000);
  });

  test("a name that does not exist, and what is no address: unreachable, with the reason", async () => {
    const [name, nonsense] = await Promise.all([network.connect("nobody.invalid:5010", inMs(5000)), network.connect("5010", inMs(5000))]);
    expect(name).toMatchObject({
      kind: expect.stringMatching(/^(unreachable|timeout)$/),
      message: expect.stringContaining("nobody.invalid"),
    });
    expect(nonsense).toEqual({ kind: "unreachable", message: "not an address with a port: 5010" });
  });
});

describe("addresses", () => {
  test("are read with and without brackets, and written back", () => {
    expect(parseHostAndPort("db1:5010")).toEqual({ host: "db1", port: 5010 });
    expect(parseHostAndPort("[::1]:5010")).toEqual({ host: "::1", port: 5010 });
    expect(parseHostAndPort("::1:5010")).toEqual({ host: "::1", port: 5010 });
    for (const wrong of ["", "db1", ":5010", "db1:", "db1:70000", "db1:5x", "a b:1", "a,b:1", "[]:1"])
      expect(parseHostAndPort(wrong)).toBeNull();
    expect(formatHostAndPort("::1", 1)).toBe("[::1]:1");
    expect(formatHostAndPort("db1", 1)).toBe("db1:1");
  });
});
