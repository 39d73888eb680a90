import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { Agent, request } from "undici/index.js";
import { type ApiServer, startApi } from "../../../lib/api/server.ts";
import type { RestApiConfig } from "../../../lib/model/node-config.ts";
import { type Authority, makeAuthority } from "../../harness/certificates.ts";
import { until } from "../../harness/wait.ts";
import { facts, LogUnderTest, NodeUnderTest, replicaFacts, restApi } from "./node-under-test.ts";

let authority: Authority;
let pair: { readonly cert: string; readonly key: string };
let client: { readonly cert: string; readonly key: string };
const running: ApiServer[] = [];
const agents: Agent[] = [];

beforeAll(() => {
  authority = makeAuthority();
  pair = authority.issue("server");
  client = authority.issue("client");
});
afterAll(() => authority.remove());
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()));
  await Promise.all(agents.splice(0).map((agent) => agent.destroy()));
});

async function start(settings: Partial<RestApiConfig>, node = new NodeUnderTest()): Promise<ApiServer> {
  const started = await startApi({ config: restApi(settings), service: node, log: new LogUnderTest() });
  if (!started.ok) throw new Error(`${started.error.path}: ${started.error.message}`);
  running.push(started.value);
  return started.value;
}

async function refused(settings: Partial<RestApiConfig>): Promise<string> {
  const started = await startApi({ config: restApi(settings), service: new NodeUnderTest(), log: new LogUnderTest() });
  if (started.ok) await started.value.stop();
  return started.ok ? "started" : `${started.error.path}: ${started.error.message}`;
}

async function ask(
  server: ApiServer,
  method: "GET" | "POST" | "PATCH",
  path: string,
  options: { readonly tls?: boolean; readonly certificate?: boolean; readonly body?: string; readonly token?: string } = {},
) {
  const agent = new Agent({
    connect: {
      ca: readFileSync(authority.ca, "utf8"),
      ...(options.certificate === true ? { cert: readFileSync(client.cert, "utf8"), key: readFileSync(client.key, "utf8") } : {}),
    },
  });
  agents.push(agent);
  const scheme = options.tls === false ? "http" : "https";
  const answer = await request(`${scheme}://127.0.0.1:${server.port}${path}`, {
    method,
    dispatcher: agent,
    headers: options.token === undefined ? {} : { authorization: `Bearer ${options.token}` },
    body: options.body ?? null,
  });
  return { status: answer.statusCode, text: await answer.body.text() };
}

/** The common name of the certificate that the server shows now. */
function shownName(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({ port, host: "127.0.0.1", ca: readFileSync(authority.ca, "utf8") }, () => {
      const name = socket.getPeerCertificate().subject.CN;
      socket.destroy();
      resolve(typeof name === "string" ? name : "");
    });
    socket.once("error", reject);
  });
}

function tlsSettings(changes: Partial<RestApiConfig> = {}): Partial<RestApiConfig> {
  return { certfile: pair.cert, keyfile: pair.key, cafile: authority.ca, ...changes };
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

describe("the listener", () => {
  test("a taken port is one clear fault, be it taken by a stranger or by another node of ours", async () => {
    const port = freePort();
    const listen = { host: "127.0.0.1", port };
    const stranger = Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } });
    const fault = `restapi.listen: 127.0.0.1:${port} is taken by another process; choose a free port or end that process`;
    expect(await refused({ listen })).toBe(fault);
    stranger.stop(true);
    await start({ listen });
    expect(await refused({ listen })).toBe(fault);
    expect(await refused(tlsSettings({ listen, verifyClient: "optional" }))).toBe(fault);
  });

  test("an address that is not this machine's is a fault of restapi.listen", async () => {
    expect(await refused({ listen: { host: "192.0.2.1", port: freePort() } })).toStartWith("restapi.listen: cannot listen on 192.0.2.1:");
  });

  test("a body over the limit is 413 with a text, announced or not, and the node is not asked", async () => {
    const node = new NodeUnderTest();
    const server = await start({}, node);
    const big = `{"a": "${"x".repeat(2 * 1024 * 1024)}"}`;
    const answer = await ask(server, "PATCH", "/config", { tls: false, body: big });
    expect([answer.status, answer.text]).toEqual([413, "the body is larger than 1048576 bytes"]);
    expect(node.configs).toEqual([]);
    const chunks = new ReadableStream({
      start(controller) {
        for (let count = 0; count < 20; count++) controller.enqueue(new TextEncoder().encode("x".repeat(100_000)));
        controller.close();
      },
    });
    const streamed = await fetch(`http://127.0.0.1:${server.port}/config`, { method: "PATCH", body: chunks });
    expect(streamed.status).toBe(413);
  });

  test("a reload moves to another port, and keeps the old one where the new one is taken", async () => {
    const [first, second, taken] = [freePort(), freePort(), freePort()];
    const server = await start({ listen: { host: "127.0.0.1", port: first } });
    const blocker = Bun.listen({ hostname: "127.0.0.1", port: taken, socket: { data: () => undefined } });
    const failed = await server.reload(restApi({ listen: { host: "127.0.0.1", port: taken } }));
    blocker.stop(true);
    expect([failed.ok, server.port]).toEqual([false, first]);
    expect((await ask(server, "GET", "/primary", { tls: false })).status).toBe(200);
    expect((await server.reload(restApi({ listen: { host: "127.0.0.1", port: second } }))).ok).toBe(true);
    expect(server.port).toBe(second);
    expect((await ask(server, "GET", "/primary", { tls: false })).status).toBe(200);
  });

  test("a reload takes authentication and headers without a new listener", async () => {
    const server = await start({});
    const { port } = server;
    expect((await ask(server, "POST", "/reload", { tls: false, body: "{}" })).status).toBe(202);
    await server.reload(restApi({ authentication: { username: "a", password: "b" } }));
    expect(server.port).toBe(port);
    expect((await ask(server, "POST", "/reload", { tls: false, body: "{}" })).status).toBe(401);
  });

  test("a reload exchanges tokens: the former one is refused at once, the port and a second token stay", async () => {
    const token = (name: string, role: "read" | "admin") => ({ name, role, token: `token-${name}-0123456789` });
    const [old, next, other] = [token("old", "admin"), token("new", "admin"), token("other", "read")];
    const server = await start({ tokens: [old, other], protectedPaths: ["/config"] });
    const { port } = server;
    const statuses = async () =>
      await Promise.all([
        ...[old, next].map(async ({ token }) => (await ask(server, "POST", "/reload", { tls: false, body: "{}", token })).status),
        ask(server, "GET", "/config", { tls: false, token: other.token }).then(({ status }) => status),
        ask(server, "GET", "/config", { tls: false }).then(({ status }) => status),
        ask(server, "GET", "/health", { tls: false }).then(({ status }) => status),
      ]);
    expect(await statuses()).toEqual([202, 401, 200, 401, 200]);
    await server.reload(restApi({ tokens: [next, other], protectedPaths: ["/config"] }));
    expect([server.port, await statuses()]).toEqual([port, [401, 202, 200, 401, 200]]);
  });

  test("a long answer is not cut by the idle timeout", async () => {
    const node = new NodeUnderTest(facts());
    node.restart = async () => {
      await Bun.sleep(13_000);
      return { status: 200, text: "restarted successfully" };
    };
    const [plain, optional] = [await start({}, node), await start(tlsSettings({ verifyClient: "optional" }), node)];
    const answers = await Promise.all([
      ask(plain, "POST", "/restart", { tls: false, body: "{}" }),
      ask(optional, "POST", "/restart", { certificate: true, body: "{}" }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  }, 120_000);
});

describe("TLS", () => {
  test("serves https, with an encrypted key and with the key in the certfile", async () => {
    const encrypted = authority.encrypt(pair.key, "secret");
    const joint = join(authority.folder, "joint.pem");
    writeFileSync(joint, readFileSync(pair.cert, "utf8") + readFileSync(pair.key, "utf8"));
    for (const settings of [
      tlsSettings(),
      tlsSettings({ keyfile: encrypted, keyfilePassword: "secret" }),
      tlsSettings({ certfile: joint, keyfile: null }),
    ]) {
      expect((await ask(await start(settings), "GET", "/primary")).status).toBe(200);
    }
  });

  test("bad files are one fault each, with the option's path", async () => {
    const encrypted = authority.encrypt(pair.key, "secret");
    const faults = await Promise.all([
      refused(tlsSettings({ certfile: "/nonexistent.crt" })),
      refused(tlsSettings({ certfile: pair.key })),
      refused(tlsSettings({ keyfile: client.key })),
      refused(tlsSettings({ keyfile: encrypted, keyfilePassword: "wrong" })),
      refused(tlsSettings({ keyfile: encrypted })),
      refused(tlsSettings({ cafile: null, verifyClient: "required" })),
      refused(tlsSettings({ ciphers: "garbage" })),
    ]);
    expect(faults.map((fault) => fault.split(":")[0])).toEqual([
      "restapi.certfile",
      "restapi.certfile",
      "restapi.keyfile",
      "restapi.keyfile",
      "restapi.keyfile",
      "restapi.cafile",
      "restapi.ciphers",
    ]);
    for (const fault of faults) expect(fault).not.toContain("\n");
  });

  test("verify_client required lets nobody in without a certificate", async () => {
    const server = await start(tlsSettings({ verifyClient: "required" }));
    await expect(ask(server, "GET", "/primary")).rejects.toThrow();
    expect((await ask(server, "GET", "/primary", { certificate: true })).status).toBe(200);
    expect((await ask(server, "POST", "/reload", { certificate: true, body: "{}" })).status).toBe(202);
  });

  test("verify_client optional wants it for unsafe methods only", async () => {
    const server = await start(tlsSettings({ verifyClient: "optional" }));
    expect((await ask(server, "GET", "/primary")).status).toBe(200);
    expect((await ask(server, "GET", "/replica?lag=1")).status).toBe(503);
    const refusal = await ask(server, "POST", "/reload", { body: "{}" });
    expect([refusal.status, refusal.text]).toEqual([403, "client certificate required"]);
    expect((await ask(server, "POST", "/reload", { certificate: true, body: "{}" })).status).toBe(202);
    expect((await ask(server, "PATCH", "/config", { certificate: true, body: '{"ttl": 40}' })).text).toContain('"ttl": 40');
  });

  test.each([
    ["none", 401],
    ["optional", 403],
    ["none", 413],
  ] as const)("a body of 100 MB that nobody wants is not taken in, verify_client %s, %d", async (verifyClient, status) => {
    const authentication = status === 401 ? { username: "a", password: "b" } : null;
    const server = await start(tlsSettings({ verifyClient, authentication }));
    const socket = tlsConnect({ port: server.port, host: "127.0.0.1", ca: readFileSync(authority.ca, "utf8") });
    socket.on("error", () => undefined);
    const closed = new Promise<"closed">((resolve) => socket.once("close", () => resolve("closed")));
    const write = (part: Buffer) =>
      new Promise<"closed" | null>((resolve) => socket.write(part, (error) => resolve(error == null ? null : "closed")));
    let answer = "";
    socket.on("data", (part: Buffer) => {
      answer += part.toString();
    });
    socket.write("PATCH /config HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    const part = Buffer.from(`10000\r\n${"x".repeat(65_536)}\r\n`);
    let sent = 0;
    let ended: "closed" | null = null;
    while (ended === null && sent < 100_000_000) {
      sent += part.byteLength;
      ended = await Promise.race([closed, write(part)]);
    }
    socket.destroy();
    expect([ended, answer.slice(0, 12)]).toEqual(["closed", `HTTP/1.1 ${status}`]);
  });

  test.each(["none", "required", "optional"] as const)(
    "a client that names no host, or none that is one, is answered by its path, verify_client %s",
    async (verifyClient) => {
      const server = await start(tlsSettings({ verifyClient }), new NodeUnderTest(replicaFacts()));
      const certificate = { cert: readFileSync(pair.cert, "utf8"), key: readFileSync(pair.key, "utf8") };
      const asked = async (request: string): Promise<string> => {
        const socket = tlsConnect({ port: server.port, host: "127.0.0.1", ca: readFileSync(authority.ca, "utf8"), ...certificate });
        socket.write(request);
        let answer = "";
        for await (const part of socket) answer += String(part);
        return answer.slice(9, 12);
      };
      for (const method of ["GET", "HEAD", "OPTIONS"]) {
        expect(await asked(`${method} /replica HTTP/1.0\r\n\r\n`)).toBe("200");
        expect(await asked(`${method} /primary?x=a/b HTTP/1.0\r\n\r\n`)).toBe("503");
        expect(await asked(`${method} /cluster?x=a/b HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n`)).toBe("200");
      }
    },
  );

  for (const verifyClient of ["none", "required", "optional"] as const) {
    test(`certificates are exchanged without dropping the port, verify_client ${verifyClient}`, async () => {
      const [cert, key] = [join(authority.folder, `${verifyClient}.crt`), join(authority.folder, `${verifyClient}.key`)];
      copyFileSync(pair.cert, cert);
      copyFileSync(pair.key, key);
      const settings = restApi(
        tlsSettings({ certfile: cert, keyfile: key, verifyClient, listen: { host: "127.0.0.1", port: freePort() } }),
      );
      const server = await start(settings);
      if (verifyClient !== "required") expect(await shownName(server.port)).toBe("server");
      const renewed = authority.issue("renewed");
      const failures: string[] = [];
      let asked = 0;
      let stop = false;
      const crowd = Array.from({ length: 4 }, async () => {
        while (!stop) {
          asked++;
          await ask(server, "GET", "/primary", { certificate: true }).catch((error: unknown) => failures.push(String(error)));
        }
      });
      copyFileSync(renewed.cert, cert);
      const half = await server.reload(settings);
      expect(half.ok ? "taken" : half.error.path).toBe("restapi.keyfile");
      copyFileSync(renewed.key, key);
      expect((await server.reload(settings)).ok).toBe(true);
      if (verifyClient !== "required") expect(await shownName(server.port)).toBe("renewed");
      const askedBefore = asked;
      await until("the crowd has been answered since", () => asked > askedBefore + 4, { withinMs: 60_000 });
      stop = true;
      await Promise.all(crowd);
      // Never refused. What stood in the old socket's queue in that instant is reset by the kernel: here client and server
      // share one event loop, so that each of the crowd may be caught there once.
      expect(failures.filter((failure) => !failure.includes("ECONNRESET"))).toEqual([]);
      expect([failures.length <= 4, asked > 5]).toEqual([true, true]);
    });
  }
});

describe("silent clients", () => {
  const settings: readonly [string, () => Partial<RestApiConfig>][] = [
    ["http", () => ({})],
    ["https", () => tlsSettings()],
    ["https, verify_client optional", () => tlsSettings({ verifyClient: "optional" })],
  ];

  /** Milliseconds until the server closes the connection. */
  function closedAfter(socket: Socket): Promise<number> {
    const from = performance.now();
    socket.on("error", () => undefined);
    return new Promise((resolve) => socket.once("close", () => resolve(performance.now() - from)));
  }

  test.each(settings)(
    "cost one idle timeout each and never the API: %s",
    async (name, make) => {
      const server = await start(make());
      const { port } = server;
      const silent = Array.from({ length: 20 }, () => connect({ port, host: "127.0.0.1" }));
      const half = connect({ port, host: "127.0.0.1" }, () => half.write("GET /primary HTTP/1.1\r\nHost: x\r\n"));
      const dribble = connect({ port, host: "127.0.0.1" });
      const drops = setInterval(() => dribble.writable && dribble.write(name === "http" ? "X" : "\u0016"), 1000);
      if (name === "http") dribble.write("GET /primary HTTP/1.1\r\nHost: x\r\nX-Slow: ");
      const closing = Promise.all([...silent, half].map(closedAfter));
      const dribbleClosing = closedAfter(dribble);
      const answer = await ask(server, "GET", "/primary", { tls: name !== "http", certificate: true });
      expect(answer.status).toBe(200);
      expect(Math.max(...(await closing))).toBeLessThan(16_000);
      clearInterval(drops);
      dribble.destroy();
      await dribbleClosing;
    },
    120_000,
  );
});
