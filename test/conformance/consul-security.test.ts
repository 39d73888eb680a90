// Goal: TLS with client certificates and ACL tokens do what the options say, and no secret reaches an error or a log.
// Method: a real Consul that demands both; certificates made by Consul's own tool.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { consulFindings } from "../../lib/cli/doctor/consul-rights.ts";
import { ConsulServices } from "../../lib/dcs/consul/service.ts";
import type { WantedService } from "../../lib/dcs/consul/service-entry.ts";
import { ConsulStore } from "../../lib/dcs/consul/store.ts";
import type { ConsulConfig } from "../../lib/model/node-config.ts";
import { ms, seconds } from "../../lib/model/units.ts";
import { Consul, consulBinary, freePorts } from "../harness/consul.ts";
import { consulConfig } from "../harness/consul-config.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { until } from "../harness/wait.ts";
import { loadTemplate } from "../simulation/node-config.ts";
import { steadyClock } from "./steady-clock.ts";
import { value } from "./suite-context.ts";

const CASE_TIMEOUT_MS = 40_000;
const MANAGER = "11111111-2222-4333-8444-555555555555";
const WRONG = "99999999-2222-4333-8444-555555555555";
const clock = steadyClock();
const within = (budgetMs = 5_000) => ({ deadline: ms(clock.now() + budgetMs) });

function open(url: string, more: Partial<ConsulConfig>): ConsulStore {
  return new ConsulStore({ config: consulConfig(url, more), clock, log: recordingLog() });
}

/** `kind: reason` of a put, or "done". */
async function outcome(store: ConsulStore, key = "service/demo/k"): Promise<string> {
  const result = await store.put(key, "1", within());
  await store.close();
  if (result.ok) return "done";
  return "reason" in result.error ? `${result.error.kind}: ${result.error.reason}` : result.error.kind;
}

describe("TLS", () => {
  const folder = mkdtempSync(join(tmpdir(), "consul-tls-"));
  let consul: Consul;
  let url = "";

  beforeAll(async () => {
    const tool = (...args: string[]): void => {
      const done = Bun.spawnSync([consulBinary() as string, "tls", ...args], { cwd: folder });
      if (done.exitCode !== 0) throw new Error(done.stderr.toString());
    };
    tool("ca", "create");
    tool("cert", "create", "-server");
    tool("cert", "create", "-client");
    const [https] = await freePorts(1);
    url = `https://127.0.0.1:${https}`;
    consul = await Consul.start({
      config: {
        ports: { https },
        ca_file: join(folder, "consul-agent-ca.pem"),
        cert_file: join(folder, "dc1-server-consul-0.pem"),
        key_file: join(folder, "dc1-server-consul-0-key.pem"),
        verify_incoming_https: true,
      },
    });
  }, CASE_TIMEOUT_MS);
  afterAll(async () => {
    await consul.stop();
    rmSync(folder, { recursive: true });
  });

  const cacert = join(folder, "consul-agent-ca.pem");
  const client = { cert: join(folder, "dc1-client-consul-0.pem"), key: join(folder, "dc1-client-consul-0-key.pem") };

  test("with CA and client certificate requests and watches pass", async () => {
    const store = open(url, { cacert, ...client });
    const revision = value(await store.put("tls/k", "1", within()));
    const watching = store.watch("tls/", revision, within());
    value(await store.put("tls/k", "2", within()));
    expect(value(await watching).entries[0]?.value).toBe("2");
    await store.close();
  });

  test("a server that the CA does not know is refused before anything is sent, unless verify is off", async () => {
    expect(await outcome(open(url, client))).toMatch(/^unavailable: .*(certificate|CERT)/i);
    expect(await outcome(open(url, { ...client, verify: false }))).toBe("done");
  });

  test("an environment that switches verification off for the whole process does not switch ours off", async () => {
    const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      expect(await outcome(open(url, client))).toStartWith("unavailable");
    } finally {
      if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
      else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
    }
  });

  test("without the client certificate the server refuses, and nothing is written", async () => {
    expect(await outcome(open(url, { cacert }))).toMatch(/^(unavailable|unknown-outcome)/);
    const plain = open(consul.url, {});
    expect(value(await plain.snapshot("service/demo/refused", within())).entries).toEqual([]);
    await plain.close();
  });
});

describe("ACL", () => {
  let consul: Consul;
  let token = "";
  const manage = (path: string, body: unknown) =>
    fetch(consul.url + path, { method: "PUT", headers: { "X-Consul-Token": MANAGER }, body: JSON.stringify(body) });

  beforeAll(async () => {
    const managed = async (url: string): Promise<boolean> => {
      const headers = { "X-Consul-Token": MANAGER };
      const created = await fetch(`${url}/v1/session/create`, { method: "PUT", headers, body: '{"Checks":[]}' });
      return created.ok;
    };
    const acl = { enabled: true, default_policy: "deny", tokens: { master: MANAGER, agent: MANAGER } };
    consul = await Consul.start({ config: { acl }, sessionTtlMin: "10s", ready: managed });
    const Rules = `key_prefix "service/demo" { policy = "write" } session_prefix "" { policy = "write" }
      service_prefix "demo" { policy = "write" } agent_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`;
    await manage("/v1/acl/policy", { Name: "demo", Rules });
    const answer = await manage("/v1/acl/token", { Policies: [{ Name: "demo" }] });
    token = ((await answer.json()) as { SecretID: string }).SecretID;
  }, CASE_TIMEOUT_MS);
  afterAll(() => consul.stop());

  test("the minimal policy of the documentation is enough for everything the store does", async () => {
    const log = recordingLog();
    const config = consulConfig(consul.url, { token });
    const store = new ConsulStore({ config, clock, log });
    const session = value(await store.openSession({ ...within(), name: "demo-a", ttl: seconds(6) }));
    expect(session.promisedMs).toBe(seconds(20));
    value(await store.put("service/demo/leader", "a", { ...within(), session: session.id, condition: { kind: "absent" } }));
    value(await store.put("service/demo.lease", "1", { ...within(), session: session.id }));
    expect(value(await store.snapshot("service/demo/", within())).entries).toHaveLength(1);
    expect(value(await store.renewSession(session.id, within())).id).toBe(session.id);
    expect(value(await store.sessionInfo(session.id, within()))?.id).toBe(session.id);
    value(await store.transaction([{ kind: "check-owner", key: "service/demo/leader", session: session.id }], within()));
    const check = { ttl: seconds(60), owner: "service/demo/members/a", service: "demo-supervisor" };
    const checked = value(await store.openSession({ ...within(), name: "demo-a", ttl: seconds(20), check }));
    expect(value(await store.renewSession(checked.id, within())).checkTtl).toBe(seconds(60));
    value(await store.closeSession(checked.id, within()));
    const services = new ConsulServices({ config, clock, log, id: "demo/a" });
    const wanted: WantedService = {
      id: "demo/a",
      service: "demo",
      cluster: "service/demo",
      connUrl: "postgres://127.0.0.1:1/postgres",
      apiUrl: "http://127.0.0.1:1/patroni",
      role: "primary",
      healthy: true,
      ttl: seconds(20),
      details: null,
    };
    const former = new ConsulServices({ config, clock, log, id: "demo/b" });
    expect(value(await former.reconcile({ ...wanted, id: "demo/b" }, within()))).toBe("registered");
    expect(value(await services.reconcile(wanted, within()))).toBe("registered");
    const stands = () =>
      services.leaderEntryStands(wanted, { ...within(), datacenters: "own", isMember: () => false, mayCorrect: () => true });
    await until(
      "the leader's tags are taken from the other entry",
      async () => {
        const standing = await stands();
        return standing.ok && standing.value.kind === "corrected" && standing.value.ids.join() === "demo/b";
      },
      { withinMs: 20_000 },
    );
    expect(value(await stands()).kind).toBe("there");
    expect(value(await services.reconcile(null, within()))).toBe("deregistered");
    expect(value(await former.reconcile(null, within()))).toBe("deregistered");
    await former.close();
    value(await store.delete("service/demo/", { ...within(), recursive: true }));
    value(await store.closeSession(session.id, within()));
    await services.close();
    await store.close();
    expect(log.lines.join("\n")).not.toContain(token);
  });

  test("the doctor names each permission that the token has not, and the rule that grants it", async () => {
    const node = { ...(await loadTemplate()), scope: "demo", namespace: "service" };
    const look = async (secret: string | null) => {
      const config = consulConfig(consul.url, { token: secret, registerService: true });
      return (await consulFindings({ ...node, consul: config }, clock)).filter(({ verdict }) => verdict !== "fine");
    };
    expect(await look(token)).toEqual([]);
    await manage("/v1/acl/policy", {
      Name: "keys",
      Rules: 'key_prefix "service/demo/" { policy = "write" } node_prefix "" { policy = "read" }',
    });
    const answer = await manage("/v1/acl/token", { Policies: [{ Name: "keys" }] });
    const lacking = await look(((await answer.json()) as { SecretID: string }).SecretID);
    expect(lacking.map(({ verdict, says, fix }) => [verdict, says.replace(/:? .*/s, ""), fix?.replace(/ \{.*/, "")])).toEqual([
      ["fault", "key:write", 'add to the token\'s policy: key_prefix "service/demo"'],
      ["fault", "session:write", 'add to the token\'s policy: session_prefix ""'],
      ["warning", "agent:read", 'add to the token\'s policy: agent_prefix ""'],
      ["fault", "service:write", 'add to the token\'s policy: service_prefix "demo"'],
    ]);
    expect(lacking[0]?.says).toContain("service/demo.lease");
    const checked = { ...node, scope: "other", consul: consulConfig(consul.url, { token, sessionCheckTtlMs: seconds(6) }) };
    expect((await consulFindings(checked, clock)).map(({ fix }) => fix).join()).toContain('service_prefix "other-supervisor"');
    const [unknown] = await look(WRONG);
    expect(unknown).toMatchObject({ verdict: "fault", says: expect.stringContaining("ACL not found") });
    expect(JSON.stringify([lacking, unknown])).not.toContain(WRONG);
  });

  test("the doctor looks at the Consul of the site too: whether it answers, and what registering there takes", async () => {
    const node = { ...(await loadTemplate()), scope: "My_Demo" };
    const look = async (site: ConsulConfig, service: string | null = null) =>
      (await consulFindings({ ...node, consul: null, discovery: { consul: site, service } }, clock)).filter(
        ({ verdict }) => verdict !== "fine",
      );
    const [denied, ...others] = await look(consulConfig(consul.url, { token }));
    // The name that is registered, and not the scope, is what a rule has to name.
    expect(denied).toMatchObject({
      subject: "discovery.consul acl",
      verdict: "fault",
      fix: expect.stringContaining('service_prefix "my-demo"'),
    });
    expect(others).toEqual([]);
    expect(await look(consulConfig(consul.url, { token }), "demo")).toEqual([]);
    const [port] = await freePorts(1);
    const [silent] = await look(consulConfig(`https://127.0.0.1:${port}`, { token }));
    expect(silent).toMatchObject({ subject: "discovery.consul", verdict: "fault", fix: expect.stringContaining("discovery.consul.host") });
    expect(JSON.stringify([denied, silent])).not.toContain(token);
  });

  test("a wrong token, none, and a key outside the policy are rejected, without the token in the reason", async () => {
    expect(await outcome(open(consul.url, { token }))).toBe("done");
    for (const refused of [await outcome(open(consul.url, { token: WRONG })), await outcome(open(consul.url, {}))]) {
      expect(refused).toStartWith("rejected");
      expect(refused).not.toContain(WRONG);
    }
    expect(await outcome(open(consul.url, { token }), "service/other/k")).toBe("rejected: Permission denied");
  });

  test("a token that is changed on reload counts from the next request on, and a session survives it", async () => {
    const store = open(consul.url, { token: MANAGER });
    const session = value(await store.openSession({ ...within(), name: "demo-a", ttl: seconds(20) }));
    store.reconfigure(consulConfig(consul.url, { token }));
    expect(value(await store.renewSession(session.id, within())).id).toBe(session.id);
    const outside = await store.put("service/other/k", "1", within());
    expect(outside.ok ? "done" : outside.error.kind).toBe("rejected");
    expect(() => store.reconfigure(consulConfig(consul.url, { token, cacert: "/does/not/exist" }))).toThrow("consul.cacert");
    expect(value(await store.renewSession(session.id, within())).id).toBe(session.id);
    await store.close();
  });
});

describe("an answer that repeats the token", () => {
  test("is scrubbed before it becomes a reason", async () => {
    const echo = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => new Response(`bad header: ${request.headers.get("x-consul-token")}`, { status: 400 }),
    });
    expect(await outcome(open(`http://127.0.0.1:${echo.port}`, { token: WRONG }))).toBe("rejected: HTTP status 400: bad header: ***");
    await echo.stop(true);
  });
});
