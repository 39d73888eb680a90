// Goal: whether a request left this machine is known in every way a connection can fail. Method: servers on loopback that
// misbehave in one way each.

import { afterEach, describe, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { ConsulStore } from "../../../lib/dcs/consul/store.ts";
import { type Ms, ms } from "../../../lib/model/units.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { consulConfig } from "../../harness/consul-config.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { ownMs } from "../../harness/stall.ts";

const clock = realClock();
const within = (budgetMs: number): { deadline: Ms } => ({ deadline: ms(clock.now() + budgetMs) });
const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** A server that does `act` with each connection and each piece that arrives on it. */
async function serve(act: { accepted?: (socket: Socket) => void; data?: (socket: Socket, text: string) => void }): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy()); // the client's abort is part of the test
    socket.on("data", (data: Buffer) => act.data?.(socket, data.toString()));
    act.accepted?.(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
}

function open(url: string): ConsulStore {
  const store = new ConsulStore({ config: consulConfig(url), clock, log: recordingLog() });
  cleanups.push(() => store.close());
  return store;
}

function respond(socket: Socket, body: string, headers = "X-Consul-Index: 7\r\n", status = "200 OK"): void {
  socket.write(`HTTP/1.1 ${status}\r\n${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

async function kinds(store: ConsulStore, budgetMs = 500): Promise<readonly (string | null)[]> {
  const read = await store.snapshot("k", within(budgetMs));
  const write = await store.put("k", "1", within(budgetMs));
  return [read.ok ? null : read.error.kind, write.ok ? null : write.error.kind];
}

describe("what a failed connection says of the request", () => {
  test("nobody listens: certainly not applied", async () => {
    const url = await serve({});
    for (const cleanup of cleanups.splice(0)) await cleanup();
    expect(await kinds(open(url))).toEqual(["unavailable", "unavailable"]);
  });

  test("the host's name does not exist: certainly not applied", async () => {
    expect(await kinds(open("http://no-such-host.invalid:8500"), 3_000)).toEqual(["unavailable", "unavailable"]);
  });

  test("closed after the request was read: a write may have been applied", async () => {
    const url = await serve({ data: (socket) => socket.end() });
    expect(await kinds(open(url))).toEqual(["unavailable", "unknown-outcome"]);
  });

  test("reset after the request was read: a write may have been applied", async () => {
    const url = await serve({ data: (socket) => socket.resetAndDestroy() });
    expect(await kinds(open(url))).toEqual(["unavailable", "unknown-outcome"]);
  });

  test("closed in the middle of the answer: a write may have been applied", async () => {
    const url = await serve({ data: (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"Res') });
    expect(await kinds(open(url))).toEqual(["unavailable", "unknown-outcome"]);
  });

  test("silence: the deadline is kept, and the next request does not wait behind the dead connection", async () => {
    let silent = true;
    const url = await serve({ data: (socket) => (silent ? undefined : respond(socket, "[]")) });
    const store = open(url);
    const deadline = ms(clock.now() + 300);
    // A timer of the same event loop: on a busy machine all of them are late together.
    const timer = clock.sleepUntil(deadline).then(() => performance.now());
    const [read, write] = await Promise.all([store.snapshot("k", { deadline }), store.put("k", "1", { deadline })]);
    // A few ms where nothing else runs; the client's own timers would be late by up to a second.
    expect(ownMs(await timer)).toBeLessThan(500);
    expect([read.ok ? null : read.error.kind, write.ok ? null : write.error.kind]).toEqual(["unavailable", "unknown-outcome"]);
    silent = false;
    expect((await store.snapshot("k", within(60_000))).ok).toBe(true);
  });

  test("an answer that is not Consul's: reads are rejected, a write may have been applied", async () => {
    for (const body of ["<html>hello</html>", "{}", ""]) {
      const url = await serve({ data: (socket) => respond(socket, body) });
      const [read, write] = await kinds(open(url));
      expect([body, read]).toEqual([body, "rejected"]);
      expect(["unknown-outcome"]).toContain(write as string);
    }
    const noIndex = await serve({ data: (socket) => respond(socket, "[]", "") });
    expect((await kinds(open(noIndex)))[0]).toBe("rejected");
  });

  test("a server that closes each connection after its answer costs no request", async () => {
    let connections = 0;
    const url = await serve({
      accepted: () => connections++,
      data: (socket) => {
        respond(socket, "[]");
        socket.end();
      },
    });
    const store = open(url);
    for (let round = 0; round < 5; round++) {
      expect((await store.snapshot("k", within(60_000))).ok).toBe(true);
      await clock.sleepUntil(ms(clock.now() + 10));
    }
    expect(connections).toBe(5);
  });

  test("a request that misses its deadline does not harm another that is under way", async () => {
    const url = await serve({
      data: (socket, text) => {
        if (text.includes("/slow")) setTimeout(() => respond(socket, "[]"), 400);
      },
    });
    const store = open(url);
    const slow = store.snapshot("slow", within(60_000));
    const lost = await store.snapshot("lost", within(100));
    expect(lost.ok ? null : lost.error.kind).toBe("unavailable");
    expect((await slow).ok).toBe(true);
  });

  test("forty waiting watches delay no other request", async () => {
    const url = await serve({
      data: (socket, text) => {
        if (!text.includes("index=")) respond(socket, "[]");
      },
    });
    const store = open(url);
    const controller = new AbortController();
    const watches = Array.from({ length: 40 }, () => store.watch("k", 7 as never, { ...within(120_000), signal: controller.signal }));
    await clock.sleepUntil(ms(clock.now() + 50));
    expect((await store.snapshot("k", within(60_000))).ok).toBe(true);
    controller.abort();
    for (const watch of await Promise.all(watches)) expect(watch.ok ? null : watch.error.kind).toBe("unavailable");
  });

  test("closing ends what is under way and refuses what comes after", async () => {
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    const store = open(await serve({ data: () => resolve() }));
    const pending = store.put("k", "1", within(120_000));
    await asked;
    await store.close();
    const [during, after] = [await pending, await store.put("k", "1", within(5_000))];
    expect(during.ok ? null : during.error.kind).toBe("unknown-outcome");
    expect(after.ok ? null : after.error).toEqual({ kind: "unavailable", reason: "the store is closed" });
  });
});

test("a store that is closed takes over no configuration, and opens nothing for one", async () => {
  const store = open(await serve({}));
  await store.close();
  const url = await serve({ data: (socket) => respond(socket, "[]") });
  store.reconfigure(consulConfig(url));
  // What is refused beside the caller is heard before the next turn of the loop.
  const rejected: unknown[] = [];
  const hear = (reason: unknown): void => void rejected.push(reason);
  process.on("unhandledRejection", hear);
  await Bun.sleep(0);
  await store.snapshot("k", within(500));
  process.off("unhandledRejection", hear);
  expect(rejected).toEqual([]);
  expect(await kinds(store)).toEqual(["unavailable", "unavailable"]);
});
