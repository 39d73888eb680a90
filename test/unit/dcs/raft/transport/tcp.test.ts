// Owns the tests of the transport over real sockets on loopback: plain, with a password, and with mutual TLS; who must not get in,
// what strangers may send, and that nobody else notices.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { connect as connectSocket, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { ByteWriter } from "../../../../../lib/dcs/raft/transport/byte-writer.ts";
import { ClientDialer } from "../../../../../lib/dcs/raft/transport/client-link.ts";
import { writeFrame } from "../../../../../lib/dcs/raft/transport/frame.ts";
import { PROTOCOL_VERSION, writeHandshakeFrame } from "../../../../../lib/dcs/raft/transport/hello.ts";
import { HANDSHAKES_MAX } from "../../../../../lib/dcs/raft/transport/reception.ts";
import type { Security } from "../../../../../lib/dcs/raft/transport/security.ts";
import { tcpNetwork } from "../../../../../lib/dcs/raft/transport/tcp-network.ts";
import { type Ms, ms } from "../../../../../lib/model/units.ts";
import { realClock } from "../../../../../lib/runtime/clock.ts";
import { type Authority, makeAuthority } from "../../../../harness/certificates.ts";
import { serverPorts } from "../../../../harness/ports.ts";
import { recordingLog } from "../../../../harness/recording-log.ts";
import { until } from "../../../../harness/wait.ts";
import { founding, type MemberOptions, realRandom, refusals, startMember, type TestMember } from "./member.ts";

const clock = realClock();
const started: TestMember[] = [];
const sockets: Socket[] = [];
const inMs = (durationMs: number): Ms => ms(clock.now() + durationMs);

let own: Authority;
let foreign: Authority;
const tls = {} as Record<"one" | "two" | "stranger" | "believer", Extract<Security, { readonly kind: "tls" }>>;

beforeAll(() => {
  own = makeAuthority();
  foreign = makeAuthority();
  const files = (authority: Authority, name: string, ca: string): typeof tls.one => {
    const { cert, key } = authority.issue(name);
    return { kind: "tls", caFile: ca, certFile: cert, keyFile: key, keyPassword: null };
  };
  tls.one = files(own, "one", own.ca);
  tls.two = files(own, "two", own.ca);
  // A certificate of another authority, once beside a belief in ours.
  tls.believer = files(foreign, "believer", own.ca);
  tls.stranger = { ...tls.believer, caFile: foreign.ca };
});

afterEach(() => {
  for (const { transport } of started.splice(0)) transport.close();
  for (const socket of sockets.splice(0)) socket.destroy();
});

afterAll(() => {
  own.remove();
  foreign.remove();
});

async function start(name: string, security: Security, options?: Partial<MemberOptions>): Promise<TestMember> {
  const log = recordingLog();
  const network = tcpNetwork({ clock, security, log });
  const member = await startMember({ name, network, clock, bind: "127.0.0.1:0", security, log, ...options });
  started.push(member);
  return member;
}

/** Two members that are connected; `expectUndisturbed` says so again at the end. */
async function pair(one: Security, two: Security, options?: Partial<MemberOptions>): Promise<readonly [TestMember, TestMember]> {
  const members = [await start("a", one, options), await start("b", two)] as const;
  for (const { transport } of members) transport.setPeers(members.map(({ member }) => member));
  await until("both are up", () => members.every(({ events }) => events.length > 0), { withinMs: 60_000 });
  return members;
}

async function expectUndisturbed(a: TestMember, b: TestMember): Promise<void> {
  b.transport.send(a.id, founding("still here"));
  a.transport.send(b.id, founding("still here"));
  await until("both hear each other", () => a.events.length > 1 && b.events.length > 1, { withinMs: 60_000 });
  expect(a.events).toEqual(["up b", "b: still here"]);
  expect(b.events).toEqual(["up a", "a: still here"]);
}

/** A stranger's socket. `closed` settles when the member has closed it. */
function stranger(member: TestMember): { readonly socket: Socket; readonly closed: Promise<void> } {
  const socket = connectSocket(Number(member.member.address.split(":").at(-1)), "127.0.0.1");
  sockets.push(socket);
  socket.resume();
  socket.on("error", () => {});
  return { socket, closed: new Promise((resolve) => socket.once("close", () => resolve())) };
}

function open(changes: Partial<Extract<Parameters<typeof writeHandshakeFrame>[1], { readonly kind: "open" }>> = {}): Uint8Array {
  const writer = new ByteWriter();
  const nonce = new Uint8Array(32);
  writeHandshakeFrame(writer, {
    kind: "open",
    version: PROTOCOL_VERSION,
    protection: "plain",
    role: "link",
    nonce,
    address: "a:1",
    ...changes,
  });
  return writer.written().slice();
}

const PASSWORD: Security = { kind: "password", password: "correct horse" };
const PLAIN: Security = { kind: "plain" };

describe("members", () => {
  for (const [what, one, two] of [
    ["plain", () => PLAIN, () => PLAIN],
    ["with a password", () => PASSWORD, () => PASSWORD],
    ["with TLS", () => tls.one, () => tls.two],
  ] as const) {
    test(`${what}: hear each other, also what is megabytes long, and answer clients`, async () => {
      const [a, b] = await pair(one(), two());
      const large = "x".repeat(9_000_000);
      const texts: string[] = [];
      b.transport.onPeerFrame = (_from, frame) => void (frame.kind === "founding" && texts.push(frame.body));
      for (const text of ["first", large, "last"]) a.transport.send(b.id, founding(text));
      await until("all frames have come", () => texts.length === 3, { withinMs: 60_000 });
      expect(texts).toEqual(["first", large, "last"]);

      b.transport.onClientRequest = (request, answer) => answer(`${request.body.length}`);
      const network = tcpNetwork({ clock, security: one(), log: recordingLog() });
      const link = await new ClientDialer({ network, clock, random: realRandom, security: one(), silentMs: 2000 }).connect(
        b.member.address,
        inMs(60_000),
      );
      if (!link.ok) throw new Error(link.error.message);
      expect(await link.value.request("12345", inMs(60_000))).toEqual({ ok: true, value: "5" });
      expect(await link.value.request(large, inMs(5000))).toEqual({ ok: true, value: "9000000" });
      link.value.close();
      expect([...refusals(a.log), ...refusals(b.log)]).toEqual([]);
    });

    test(`${what}: are connected again at once when one of them was started again`, async () => {
      const [port = 0] = await serverPorts(1);
      const a = await start("a", one());
      const b = await start("b", two(), { bind: `127.0.0.1:${port}` });
      a.transport.setPeers([b.member]);
      await until("b is up", () => a.events.at(-1) === "up b", { withinMs: 60_000 });
      b.transport.close();
      await until("b is gone", () => a.events.at(-1) === "lost b gone", { withinMs: 60_000 });
      const again = await start("b", two(), { bind: `127.0.0.1:${port}` });
      again.transport.setPeers([a.member]);
      await until("b is up again", () => a.events.at(-1) === "up b", { withinMs: 60_000 });
    });
  }

  const hasIpv6 = Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === "::1"));
  test.skipIf(!hasIpv6)("on IPv6 and by name find each other", async () => {
    const a = await start("a", PLAIN, { bind: "[::1]:0" });
    const b = await start("b", PLAIN, { bind: "localhost:0" });
    a.transport.setPeers([b.member]);
    await until("b is up", () => a.events.includes("up b"), { withinMs: 60_000 });
    expect((await b.transport.ask(a.member.address, inMs(60_000))).ok).toBe(true);
    expect(a.member.address).toStartWith("[::1]:");
  });

  test("that cannot listen say where and why", async () => {
    const a = await start("a", PLAIN);
    const b = await start("b", PLAIN);
    expect(await b.transport.listen(a.member.address)).toMatchObject({
      ok: false,
      error: expect.stringContaining(`cannot listen on ${a.member.address}: `),
    });
  });
});

describe("who may not come in", () => {
  /** The dialler's reason, and exactly one line where it knocked. */
  async function expectRefused(
    inside: readonly [TestMember, TestMember],
    outsider: TestMember,
    there: string,
    here: string,
  ): Promise<void> {
    const [a, b] = inside;
    const answer = await outsider.transport.ask(a.member.address, inMs(3000));
    expect(answer).toMatchObject({ ok: false, error: expect.stringContaining(there) });
    await until("it is logged", () => refusals(a.log).length > 0, { withinMs: 60_000 });
    expect(refusals(a.log)).toHaveLength(1);
    expect(refusals(a.log)[0]).toContain(here);
    await expectUndisturbed(a, b);
  }

  test("another password", async () => {
    const inside = await pair(PASSWORD, PASSWORD);
    const outsider = await start("c", { kind: "password", password: "correct horsf" });
    await expectRefused(inside, outsider, "it has another password", "it does not know the password");
    expect([...inside[0].log.lines, ...outsider.log.lines].filter((line) => line.includes("horse"))).toEqual([]);
  });

  test("another password, no password or another version, again and again: one line for each, and nobody is disturbed", async () => {
    const [a, b] = await pair(PASSWORD, PASSWORD);
    const wrong = await start("c", { kind: "password", password: "correct horsf" });
    const without = await start("d", PLAIN);
    for (let time = 0; time < 4; time++) {
      for (const { transport } of [wrong, without]) expect((await transport.ask(a.member.address, inMs(60_000))).ok).toBe(false);
      const { socket, closed } = stranger(a);
      socket.write(open({ version: 0 }));
      await closed;
    }
    // The next one comes after all of them.
    const last = stranger(a);
    last.socket.write(open({ protection: "tls" }));
    await last.closed;
    await until("it is logged", () => refusals(a.log).some((line) => line.includes("it uses TLS")), { withinMs: 60_000 });
    expect(
      refusals(a.log)
        .map((line) => line.replace(/^.*127\.0\.0\.1:\d+: /, ""))
        .sort(),
    ).toEqual([
      "it does not know the password",
      "it speaks version 0 of the protocol, this side version 2",
      "it uses TLS, this side a password",
      "it uses no protection, this side a password",
    ]);
    await expectUndisturbed(a, b);
  });

  test("no password", async () => {
    const inside = await pair(PASSWORD, PASSWORD);
    await expectRefused(inside, await start("c", PLAIN), "it is protected in another way", "it uses no protection, this side a password");
  });

  test("a password where none is used: it does not go on in clear text", async () => {
    const inside = await pair(PLAIN, PLAIN);
    await expectRefused(
      inside,
      await start("c", PASSWORD),
      "it is protected in another way",
      "it uses a password, this side no protection",
    );
  });

  test("a certificate of a foreign authority", async () => {
    const inside = await pair(tls.one, tls.two);
    await expectRefused(inside, await start("c", tls.believer), "does it trust this side's certificate?", "TLS failed");
  });

  test("an authority of its own: the dialler refuses the server", async () => {
    const inside = await pair(tls.one, tls.two);
    await expectRefused(inside, await start("c", tls.stranger), "TLS failed", "it closed before TLS was done");
  });

  test("no TLS at all", async () => {
    const inside = await pair(tls.one, tls.two);
    await expectRefused(inside, await start("c", PLAIN), "it announced a frame of", "TLS failed");
  });

  test("a server whose certificate is for another name", async () => {
    const a = await start("a", tls.one, { bind: "127.0.0.2:0" });
    const outsider = await start("c", tls.two);
    expect(await outsider.transport.ask(a.member.address, inMs(3000))).toMatchObject({
      ok: false,
      error: expect.stringContaining("ALTNAME"),
    });
  });

  test("NODE_TLS_REJECT_UNAUTHORIZED=0 lets nobody in", async () => {
    const program = `
      const { tcpNetwork } = await import(${JSON.stringify(join(import.meta.dir, "../../../../../lib/dcs/raft/transport/tcp-network.ts"))});
      const { realClock } = await import(${JSON.stringify(join(import.meta.dir, "../../../../../lib/runtime/clock.ts"))});
      const clock = realClock(), log = { warning() {}, error() {} }, got = [];
      const [mine, foreign] = JSON.parse(process.argv[1]).map((security) => tcpNetwork({ clock, log, security }));
      const ended = Promise.withResolvers();
      const listener = await mine.listen("127.0.0.1:0", (c) => { c.onData = () => got.push("data"); c.onClose = (cause) => { got.push(cause); ended.resolve(); }; });
      const server = await foreign.listen("127.0.0.1:0", () => {});
      const outgoing = await mine.connect(server.address, clock.now() + 2000);
      const incoming = await foreign.connect(listener.address, clock.now() + 2000);
      if (!("kind" in incoming)) incoming.write(new Uint8Array(9));
      await ended.promise;
      console.log(JSON.stringify([outgoing.kind, ...got]));
      process.exit(0);`;
    const run = Bun.spawn([process.execPath, "-e", program, JSON.stringify([tls.one, tls.believer])], {
      env: { ...process.env, NODE_TLS_REJECT_UNAUTHORIZED: "0" },
      stderr: "ignore",
    });
    expect(JSON.parse(await run.stdout.text())).toEqual(["tls", "untrusted"]);
  });

  test("an encrypted key is used with its password; without it, or with a wrong one, the file and the option are named", async () => {
    const keyFile = own.encrypt(tls.one.keyFile, "correct horse");
    const a = await start("a", { ...tls.one, keyFile, keyPassword: "correct horse" });
    const b = await start("b", tls.two);
    expect((await b.transport.ask(a.member.address, inMs(60_000))).ok).toBe(true);
    expect((await a.transport.ask(b.member.address, inMs(60_000))).ok).toBe(true);
    for (const [keyPassword, what] of [
      [null, "missing"],
      ["wrong", "right"],
    ] as const) {
      const told = `${keyFile}: it is encrypted; is raft.keyfile_password ${what}? `;
      expect(() => tcpNetwork({ clock, security: { ...tls.one, keyFile, keyPassword }, log: recordingLog() })).toThrow(told);
    }
  });

  test("renewed certificates are used for new connections without a restart", async () => {
    const files = { certFile: join(own.folder, "live.crt"), keyFile: join(own.folder, "live.key") };
    copyFileSync(tls.believer.certFile, files.certFile);
    copyFileSync(tls.believer.keyFile, files.keyFile);
    const a = await start("a", { ...tls.one, ...files });
    const b = await start("b", tls.two);
    expect((await b.transport.ask(a.member.address, inMs(2000))).ok).toBe(false);
    copyFileSync(tls.one.certFile, files.certFile);
    copyFileSync(tls.one.keyFile, files.keyFile);
    await until("the new certificate is shown", async () => (await b.transport.ask(a.member.address, inMs(2000))).ok, { withinMs: 60_000 });
    copyFileSync(own.ca, files.certFile);
    const told = (): boolean => a.log.lines.some((line) => line.includes("live.crt") && line.includes("the ones read before stay in use"));
    const look = async (): Promise<boolean> => (await b.transport.ask(a.member.address, inMs(2000))).ok && told();
    await until("a set that does not fit is told, and not used", look, { withinMs: 60_000 });
  });
});

describe("what strangers send", () => {
  const cases: readonly [string, () => Uint8Array | readonly Uint8Array[], string][] = [
    ["random bytes", () => Uint8Array.of(0x9e, 0x13, 0x77, 0xe1, 5, 6, 7, 8), "it announced a frame of"],
    ["a request of HTTP", () => Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "it announced a frame of"],
    ["a frame of a gigabyte", () => Uint8Array.of(0, 0, 0, 0x40), "it announced a frame of 1073741824 bytes before the handshake was over"],
    ["short frames of nonsense", () => Uint8Array.of(3, 0, 0, 0, 1, 2, 3), "it does not speak this protocol"],
    ["an empty frame", () => new Uint8Array(4), "it does not speak this protocol"],
    ["an old version of the protocol", () => open({ version: 0 }), "it speaks version 0 of the protocol, this side version 2"],
    ["OPEN twice", () => [open(), open()], "it sent OPEN where HELLO belongs"],
    ["a ping before HELLO", () => frame({ kind: "ping" }), "it does not speak this protocol"],
    ["a HELLO of nobody on a link", () => [open(), hello()], "it is no member"],
  ];
  for (const [what, bytes, line] of cases) {
    test(`${what}: closed, one line, nobody is disturbed`, async () => {
      const [a, b] = await pair(PLAIN, PLAIN);
      const { socket, closed } = stranger(a);
      for (const part of [bytes()].flat()) socket.write(part as Uint8Array);
      await closed;
      expect(refusals(a.log)).toHaveLength(1);
      expect(refusals(a.log)[0]).toContain(line);
      await expectUndisturbed(a, b);
    });
  }

  test("half an OPEN and then nothing: closed at the deadline, one line", async () => {
    const [a, b] = await pair(PLAIN, PLAIN, { timings: { helloMs: 300 } });
    const { socket, closed } = stranger(a);
    socket.write(open().subarray(0, 20));
    await closed;
    expect(refusals(a.log)).toEqual([expect.stringContaining("it did not say HELLO in time")]);
    await expectUndisturbed(a, b);
  });

  test("half an OPEN and then the end: one line; not a byte at all: none", async () => {
    const [a, b] = await pair(PLAIN, PLAIN);
    const silent = stranger(a);
    silent.socket.end();
    await silent.closed;
    const { socket, closed } = stranger(a);
    socket.end(open().subarray(0, 20));
    await closed;
    await until("it is logged", () => refusals(a.log).length > 0, { withinMs: 60_000 });
    expect(refusals(a.log)).toEqual([expect.stringContaining("it closed in the middle of the handshake")]);
    await expectUndisturbed(a, b);
  });

  test("a whole session recorded from a member with the password, played again: refused", async () => {
    const [a, b] = await pair(PASSWORD, PASSWORD);
    const said: Buffer[] = [];
    const recorder = Bun.listen<{ onward: Socket }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => {
          const { socket: onward } = stranger(a);
          onward.on("data", (chunk) => void socket.write(chunk));
          socket.data = { onward };
        },
        data: (socket, chunk) => {
          said.push(Buffer.from(chunk));
          socket.data.onward.write(chunk);
        },
      },
    });
    const c = await start("c", PASSWORD);
    expect((await c.transport.ask(`127.0.0.1:${recorder.port}`, inMs(60_000))).ok).toBe(true);
    recorder.stop(true);
    const { socket, closed } = stranger(a);
    for (const chunk of said) socket.write(chunk);
    await closed;
    expect(refusals(a.log)).toEqual([expect.stringContaining("it does not know the password")]);
    await expectUndisturbed(a, b);
  });

  test("what it was sent, sent back: nobody proves a password with the other side's words", async () => {
    const [a, b] = await pair(PASSWORD, PASSWORD);
    const { socket, closed } = stranger(a);
    socket.on("data", (chunk) => socket.write(chunk));
    socket.write(open({ protection: "password" }));
    await closed;
    expect(refusals(a.log)).toHaveLength(1);
    await expectUndisturbed(a, b);
  });

  test("a record sent twice in an established session ends that connection alone", async () => {
    const [a, b] = await pair(PASSWORD, PASSWORD);
    const recorder = Bun.listen<{ onward: Socket; count: number }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => {
          const { socket: onward } = stranger(a);
          onward.on("data", (chunk) => void socket.write(chunk));
          socket.data = { onward, count: 0 };
        },
        data: (socket, chunk) => {
          socket.data.onward.write(chunk);
          // OPEN, then CONFIRM and HELLO, then the first record.
          if (++socket.data.count === 3) socket.data.onward.write(chunk);
        },
      },
    });
    const c = await start("c", PASSWORD);
    c.transport.setPeers([{ id: a.id, address: `127.0.0.1:${recorder.port}` }]);
    await until("c is up", () => c.events.includes("up a"), { withinMs: 60_000 });
    c.transport.send(a.id, founding("once"));
    await until("it is refused", () => refusals(a.log).length > 0, { withinMs: 60_000 });
    recorder.stop(true);
    expect(refusals(a.log)).toEqual([expect.stringContaining("a record of it was altered, repeated, or is none")]);
    expect(a.events.filter((event) => event === "c: once")).toHaveLength(1);
    a.events.splice(0, a.events.length, "up b");
    await expectUndisturbed(a, b);
  });

  for (const [what, one, two, other] of [
    ["plain", () => PLAIN, () => PLAIN, () => PLAIN],
    ["TLS", () => tls.one, () => tls.two, () => tls.two],
  ] as const) {
    test(`a flood of silent connections (${what}) keeps nobody out, and fills no log`, async () => {
      const [a, b] = await pair(one(), two());
      const flood = Array.from({ length: HANDSHAKES_MAX * 3 }, () => stranger(a));
      await Promise.all(flood.slice(0, HANDSHAKES_MAX * 2).map(({ closed }) => closed));
      const c = await start("c", other());
      expect((await c.transport.ask(a.member.address, inMs(60_000))).ok).toBe(true);
      expect(refusals(a.log)).toHaveLength(10);
      await expectUndisturbed(a, b);
    });
  }
});

function frame(one: Parameters<typeof writeFrame>[1]): Uint8Array {
  const writer = new ByteWriter();
  writeFrame(writer, one);
  return writer.written().slice();
}

function hello(): Uint8Array {
  const writer = new ByteWriter();
  writeHandshakeFrame(writer, { kind: "hello", hello: null });
  return writer.written().slice();
}
