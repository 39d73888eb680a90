import { dlopen, FFIType, ptr } from "bun:ffi";
import { afterEach, describe, expect, test } from "bun:test";
import { startApi } from "../../../lib/api/server.ts";
import type { Clock } from "../../../lib/model/clock.ts";
import type { CtlConfig, RestApiConfig } from "../../../lib/model/node-config.ts";
import { lsn, type Ms, ms, timeline } from "../../../lib/model/units.ts";
import { makeAgent } from "../../../lib/runtime/peer-agent.ts";
import { PeerClient, type PeerSettings } from "../../../lib/runtime/peer-client.ts";
import { decodePeerDocument } from "../../../lib/runtime/peer-document.ts";
import { makeAuthority } from "../../harness/certificates.ts";
import { ownMs } from "../../harness/stall.ts";
import { facts, LogUnderTest, NodeUnderTest, postgres, replicaFacts, restApi } from "../api/node-under-test.ts";

const clock: Clock = { now: () => ms(performance.now()), wallNow: Date.now, sleepUntil: async () => undefined };
const CTL: CtlConfig = {
  insecure: false,
  authentication: null,
  token: null,
  cacert: null,
  certfile: null,
  keyfile: null,
  keyfilePassword: null,
};
const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function within(milliseconds: number): Ms {
  return ms(performance.now() + milliseconds);
}

function peerClient(ctl: Partial<CtlConfig> = {}, restapi: Partial<RestApiConfig> = {}): PeerClient {
  const client = new PeerClient({ ctl: { ...CTL, ...ctl }, restapi: restApi(restapi), clock });
  closing.push(() => client.close());
  return client;
}

async function memberApi(node: NodeUnderTest, settings: Partial<RestApiConfig> = {}): Promise<string> {
  const started = await startApi({ config: restApi(settings), service: node, log: new LogUnderTest() });
  if (!started.ok) throw new Error(started.error.message);
  closing.push(() => started.value.stop());
  return `${settings.certfile ? "https" : "http"}://127.0.0.1:${started.value.port}/patroni`;
}

/** Answers every connection with these bytes; null: accepts and says nothing. */
function rawServer(bytes: string | null): string {
  const socket = {
    data: (connection: { write(text: string): unknown; end(): unknown }) =>
      void (bytes !== null && connection.write(bytes) && connection.end()),
  };
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket });
  closing.push(() => server.stop(true));
  return `http://127.0.0.1:${server.port}/patroni`;
}

/** As a host whose packets are dropped: the accept queue is full, so the kernel leaves every SYN unanswered. */
async function silentHost(): Promise<string> {
  const [AF_INET, SOCK_STREAM] = [2, 1];
  const { symbols } = dlopen("libc.so.6", {
    socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
    listen: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    getsockname: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
    close: { args: [FFIType.i32], returns: FFIType.i32 },
  });
  const socket = symbols.socket(AF_INET, SOCK_STREAM, 0);
  closing.push(() => symbols.close(socket));
  const address = new Uint8Array([AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  symbols.bind(socket, ptr(address), address.length);
  symbols.listen(socket, 0);
  symbols.getsockname(socket, ptr(address), ptr(new Uint32Array([address.length])));
  const port = ((address[2] ?? 0) << 8) | (address[3] ?? 0);
  const filler = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => undefined } });
  closing.push(() => filler.end());
  return `http://127.0.0.1:${port}/patroni`;
}

describe("a request to a member", () => {
  test("ends at its deadline where the host is silent and no connection comes about", async () => {
    const [client, url] = [peerClient(), await silentHost()];
    const from = performance.now();
    const answers = await Promise.all(Array.from({ length: 12 }, () => client.status(url, within(300))));
    expect(performance.now() - from).toBeGreaterThan(290);
    // The deadline, whatever the kernel does with the connection: its own patience is minutes.
    expect(ownMs(from)).toBeLessThan(1_500);
    for (const answer of answers) expect(answer).toMatchObject({ ok: false, error: { kind: "timeout" } });
  });

  test("reads the status document exactly, positions beyond 2^53 too", async () => {
    const url = await memberApi(
      new NodeUnderTest(facts({ postgres: postgres({ walLsn: lsn(9007199254740993n) }), tags: { nofailover: true } })),
    );
    const status = await peerClient().status(url, within(60_000));
    expect(status.ok && status.value).toMatchObject({
      name: "node1",
      scope: "demo",
      version: "4.1.5",
      product: { name: "Matriarch" },
      state: "running",
      role: "primary",
      serverVersion: 150018,
      systemIdentifier: "7710744159307945845",
      timeline: timeline(1),
      walLsn: lsn(9007199254740993n),
      tags: { nofailover: true },
      pause: false,
      dcsLastSeenEpochSeconds: 1795297538,
    });
  });

  test("gives the decision the highest position of a replica", async () => {
    const url = await memberApi(
      new NodeUnderTest(replicaFacts({ postgres: postgres({ inRecovery: true, receivedLsn: lsn(5), replayedLsn: lsn(9) }) })),
    );
    expect(await peerClient().ask(url, within(60_000))).toMatchObject({ role: "replica", state: "running", lsn: lsn(9), paused: false });
  });

  test("ends at its deadline where the member is silent, and delays no other", async () => {
    const client = peerClient();
    const [silent, good] = [rawServer(null), await memberApi(new NodeUnderTest())];
    const from = performance.now();
    let answered = 0;
    const slow = [1, 2, 3].map(() =>
      client.status(silent, within(2_000)).finally(() => {
        answered += 1;
      }),
    );
    expect((await client.status(good, within(60_000))).ok).toBe(true);
    expect(answered).toBe(0);
    const results = await Promise.all(slow);
    expect(ownMs(from)).toBeLessThan(6_000);
    expect(results.map((result) => !result.ok && result.error.kind)).toEqual(["timeout", "timeout", "timeout"]);
  });

  test("is not sent when the deadline has passed", async () => {
    const status = await peerClient().status(await memberApi(new NodeUnderTest()), within(-1));
    expect(status.ok === false && status.error.kind).toBe("timeout");
  });

  test("tells a refused connection, a broken answer and a stranger apart", async () => {
    const client = peerClient();
    const kind = async (url: string) => {
      const status = await client.status(url, within(60_000));
      return status.ok ? "ok" : status.error.kind;
    };
    const answer = (body: string, length = body.length) =>
      `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${body}`;
    expect(await kind("http://127.0.0.1:9/patroni")).toBe("unreachable");
    expect(await kind("nonsense")).toBe("unreachable");
    expect(await kind(rawServer("SSH-2.0-OpenSSH\r\n"))).toBe("bad-answer");
    expect(await kind(rawServer(answer("[]")))).toBe("bad-answer");
    expect(await kind(rawServer(answer("not json")))).toBe("bad-answer");
    expect(await kind(rawServer(answer('{"state": "running"}')))).toBe("bad-answer");
    expect(await kind(rawServer(answer('{"state": "run', 500)))).toBe("bad-answer");
    expect(await kind(rawServer(answer(`{"state": "${"x".repeat(2_000_000)}", "role": "replica"}`)))).toBe("bad-answer");
    expect(await kind(rawServer("HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))).toBe("bad-answer");
  });

  test("presents the client certificate, and basic authentication for unsafe methods", async () => {
    const authority = makeAuthority();
    closing.push(() => authority.remove());
    const [server, client] = [authority.issue("server"), authority.issue("client")];
    const authentication = { username: "u", password: "p" };
    const tls = { certfile: server.cert, keyfile: server.key, cafile: authority.ca, authentication, verifyClient: "required" as const };
    const node = new NodeUnderTest();
    const url = await memberApi(node, tls);
    const knows = peerClient({ cacert: authority.ca, certfile: client.cert, keyfile: client.key, authentication });
    expect((await knows.status(url, within(60_000))).ok).toBe(true);
    const posted = await knows.post(url, "/reload", {}, within(60_000));
    expect(posted.ok && [posted.value.status, posted.value.text]).toEqual([202, "reload scheduled"]);
    const own = peerClient({}, tls);
    expect((await own.status(url, within(60_000))).ok).toBe(true);
    const stranger = peerClient({ cacert: authority.ca });
    expect((await stranger.status(url, within(2000))).ok).toBe(false);
    const careful = await peerClient({ certfile: client.cert, keyfile: client.key }).status(url, within(2000));
    expect(careful.ok === false && careful.error.kind).toBe("unreachable");
  }, 120_000);

  test("presents a token before a password, on closed reading paths too, and another one after a reload", async () => {
    const tokens = [
      { name: "old", role: "operate" as const, token: "old-token-of-members" },
      { name: "new", role: "operate" as const, token: "new-token-of-members" },
    ];
    const url = await memberApi(new NodeUnderTest(), { tokens, protectedPaths: ["/config"] });
    const client = peerClient({ token: "old-token-of-members", authentication: { username: "u", password: "p" } });
    const status = async (method: "GET" | "POST", path: string) => {
      const answer = await client.send(method, url, path, null, within(60_000));
      return answer.ok ? answer.value.status : answer.error.kind;
    };
    const statuses = async () => [await status("GET", "/config"), await status("POST", "/reload")];
    expect(await statuses()).toEqual([200, 202]);
    expect((await client.reload({ ctl: { ...CTL, token: "a-token-of-strangers" }, restapi: restApi() })).ok).toBe(true);
    expect(await statuses()).toEqual([401, 401]);
    expect((await client.reload({ ctl: { ...CTL, token: "new-token-of-members" }, restapi: restApi() })).ok).toBe(true);
    expect(await statuses()).toEqual([200, 202]);
    expect((await client.status(url, within(60_000))).ok).toBe(true);
  });

  test("whose HTTP client could not be loaded has no answer to that request, and tries again with the next", async () => {
    const url = await memberApi(new NodeUnderTest(replicaFacts()));
    let openings = 0;
    const open = (settings: PeerSettings) => {
      openings += 1;
      return openings < 3 ? Promise.reject(new Error("no memory")) : makeAgent(settings);
    };
    const client = new PeerClient({ ctl: CTL, restapi: restApi(), clock, open });
    closing.push(() => client.close());
    expect((await client.fault())?.message).toContain("no memory");
    const beat = { name: "node1", connUrl: "", apiUrl: "http://node1/patroni", slots: {}, ttl: null };
    expect(await client.failsafe(url, beat, within(5_000))).toMatchObject({ kind: "silent", reason: expect.stringContaining("no memory") });
    expect((await client.status(url, within(60_000))).ok).toBe(true);
    expect(openings).toBe(3);
  });

  test("a certificate file that cannot be read is a fault with its path; a reload that fails changes nothing", async () => {
    const broken = peerClient({ certfile: "/nonexistent.crt" });
    expect((await broken.fault())?.path).toBe("ctl.certfile");
    const url = await memberApi(new NodeUnderTest());
    const status = await broken.status(url, within(1000));
    expect(status.ok === false && status.error.message).toStartWith("ctl.certfile: cannot be read");
    const client = peerClient();
    expect((await client.reload({ ctl: { ...CTL, cacert: "/nonexistent.crt" }, restapi: restApi() })).ok).toBe(false);
    expect((await client.status(url, within(60_000))).ok).toBe(true);
    expect((await client.reload({ ctl: CTL, restapi: restApi() })).ok).toBe(true);
    expect((await client.status(url, within(60_000))).ok).toBe(true);
  });
});

describe("a status document", () => {
  test("counts fields of an unexpected form as absent", () => {
    const odd =
      '{"state": "running", "role": "master", "timeline": "x", "xlog": 5, "tags": [1], "pause": "yes", "patroni": 3, "product": 1, "dcs_last_seen": -1}';
    const decoded = decodePeerDocument(odd);
    expect(decoded.ok && decoded.value).toMatchObject({
      role: "primary",
      timeline: null,
      walLsn: null,
      tags: {},
      pause: false,
      version: null,
      product: null,
    });
  });

  test("never throws, whatever stands there", () => {
    for (const body of [
      "",
      "null",
      "5",
      '{"state": 1, "role": "x"}',
      '{"state": "a", "role": "b", "xlog": {"location": -5}, "timeline": 0}',
      "[".repeat(100_000),
    ]) {
      expect(typeof decodePeerDocument(body).ok).toBe("boolean");
    }
  });
});
