// Claims about the routes that change something, but who leads (change-of-leader.test.ts): bodies, answers, and who may call them.

import { describe, expect, test } from "bun:test";
import { Api } from "../../../lib/api/app.ts";
import { lsn, ms } from "../../../lib/model/units.ts";
import { until } from "../../harness/wait.ts";
import { answer, apiOf, LOCAL_PEER } from "./asking.ts";
import {
  CONFIG_IN_DCS,
  cluster,
  DYNAMIC,
  facts,
  LogUnderTest,
  leading,
  member,
  NodeUnderTest,
  replicaFacts,
  restApi,
} from "./node-under-test.ts";

describe("/config", () => {
  test("GET shows what the DCS holds, 502 where it holds none", async () => {
    expect((await apiOf(new NodeUnderTest())("GET", "/config")).text).toBe(
      '{"loop_wait": 2, "maximum_lag_on_failover": 1048576, "postgresql": {"parameters": {"max_connections": 50}, "use_pg_rewind": true}, "retry_timeout": 3, "ttl": 20}',
    );
    expect((await apiOf(new NodeUnderTest(facts({ cluster: cluster({ config: null }) })))("GET", "/config")).status).toBe(502);
  });

  test("PATCH merges by the revision read and answers with the new configuration", async () => {
    const node = new NodeUnderTest();
    const { status, text } = await apiOf(node)("PATCH", "/config", { ttl: 30, postgresql: { parameters: { max_connections: null } } });
    expect([status, text]).toEqual([
      200,
      '{"loop_wait": 2, "maximum_lag_on_failover": 1048576, "postgresql": {"parameters": {}, "use_pg_rewind": true}, "retry_timeout": 3, "ttl": 30}',
    ]);
    expect(node.configs[0]?.revision).toBe(7);
    expect(node.asked).toEqual(["wake"]);
  });

  test("PATCH that changes nothing writes nothing", async () => {
    const node = new NodeUnderTest();
    expect((await apiOf(node)("PATCH", "/config", { ttl: 20, absent: null })).status).toBe(200);
    expect(node.configs).toEqual([]);
  });

  test("PATCH conflicts with 409, is 503 where the configuration is gone or the DCS away", async () => {
    const node = new NodeUnderTest();
    node.writeFailure = { kind: "condition-failed" };
    expect((await apiOf(node)("PATCH", "/config", { ttl: 25 })).status).toBe(409);
    node.writeFailure = { kind: "unknown-outcome", reason: "timeout" };
    expect((await apiOf(node)("PATCH", "/config", { ttl: 25 })).status).toBe(503);
    expect((await apiOf(new NodeUnderTest(facts({ cluster: cluster({ config: null }) })))("PATCH", "/config", { ttl: 25 })).status).toBe(
      503,
    );
  });

  test("PUT replaces, also where there is none; 502 where it cannot", async () => {
    const node = new NodeUnderTest(facts({ cluster: cluster({ config: null }) }));
    const put = await apiOf(node)("PUT", "/config", { ttl: 30 });
    expect([put.status, put.text, node.configs[0]?.revision ?? null]).toEqual([200, '{"ttl": 30}', null]);
    node.writeFailure = { kind: "unavailable", reason: "away" };
    expect((await apiOf(node)("PUT", "/config", CONFIG_IN_DCS)).status).toBe(502);
  });

  test.each(["", "{", "[]", '"x"', "5", "null", "{}x", '{"a": NaN}'])(
    "a body of %j is refused with 400 and changes nothing",
    async (body) => {
      const node = new NodeUnderTest();
      for (const method of ["PATCH", "PUT"]) expect([method, (await apiOf(node)(method, "/config", body)).status]).toEqual([method, 400]);
      expect(node.configs).toEqual([]);
    },
  );

  test("a body without announced length is 411, one too large 413, one too deep 400", async () => {
    const ask = apiOf(new NodeUnderTest());
    expect((await ask("PATCH", "/config")).status).toBe(411);
    expect((await ask("PATCH", "/config", `{"a": "${"x".repeat(1024 * 1024)}"}`)).status).toBe(413);
    expect((await ask("PATCH", "/config", "{}", { headers: { "content-length": "99999999" } })).status).toBe(413);
    expect((await ask("PATCH", "/config", `{"a":${"[".repeat(5000)}${"]".repeat(5000)}}`)).status).toBe(400);
    const headers = { "transfer-encoding": "chunked" };
    expect((await ask("PATCH", "/config", Buffer.from([0x7b, 0xff, 0x7d]).toString("latin1"), { headers })).status).toBe(400);
  });
});

describe("restart, reload, reinitialize and the rest", () => {
  test("restart passes its filters on; an empty body means now", async () => {
    const node = new NodeUnderTest();
    expect((await apiOf(node)("POST", "/restart")).text).toBe("restarted successfully");
    expect(
      (await apiOf(node)("POST", "/restart", { role: "primary", timeout: "2min", postgres_version: "16.1", restart_pending: "False" }))
        .status,
    ).toBe(200);
    expect(node.restarts).toEqual([
      { role: null, postgresVersion: null, timeoutMs: null, restartPending: false },
      { role: "primary", postgresVersion: "16.1", timeoutMs: ms(120000), restartPending: false },
    ]);
  });

  test.each([
    [{ role: "replica" }, 503, "restart conditions are not satisfied"],
    [{ restart_pending: "on" }, 503, "restart conditions are not satisfied"],
    [{ postgres_version: "9.5.1" }, 503, "restart conditions are not satisfied"],
    [{ role: "master" }, 400, "PostgreSQL role should be either primary, standby_leader, or replica"],
    [{ postgres_version: "abc" }, 400, "Invalid PostgreSQL version: abc"],
    [{ postgres_version: "" }, 400, "Invalid PostgreSQL version: "],
    [{ postgres_version: null }, 400, "Invalid PostgreSQL version: "],
    [{ postgres_version: "9.6" }, 400, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6"],
    [{ postgres_version: "15" }, 400, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 15"],
    [{ postgres_version: 16 }, 400, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 16"],
    [{ postgres_version: "9.6.1.2" }, 400, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6.1.2"],
    [{ restart_pending: "maybe" }, 503, "restart conditions are not satisfied"],
    [{ restart_pending: 5 }, 503, "restart conditions are not satisfied"],
    [{ timeout: "" }, 400, "Timeout should be a positive number of seconds"],
    [{ timeout: null }, 400, "Timeout should be a positive number of seconds"],
    [{ timeout: "x", role: "zz" }, 400, "Timeout should be a positive number of seconds"],
    [{ role: "zz", timeout: "x" }, 400, "PostgreSQL role should be either primary, standby_leader, or replica"],
    [{ bogus: 1, role: "zz" }, 400, "Unknown filter for the scheduled restart: bogus"],
    [{ schedule: "" }, 422, "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"],
    [{ schedule: null }, 422, "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"],
    [{ timeout: "x" }, 400, "Timeout should be a positive number of seconds"],
    [{ timeout: -1 }, 400, "Timeout should be a positive number of seconds"],
    [{ timeout: 0 }, 400, "Timeout should be a positive number of seconds"],
    [{ bogus: 1 }, 400, "Unknown filter for the scheduled restart: bogus"],
    [{ schedule: "2099-01-01T00:00:00" }, 400, "Timezone information is mandatory for the scheduled restart"],
    [{ schedule: "x" }, 422, "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"],
    [{ schedule: "2009-01-01T00:00:00Z" }, 422, "Cannot schedule restart in the past"],
    [{ schedule: "2099-01-01T00:00:00Z", role: "replica" }, 202, "Restart scheduled"],
  ])("restart %j answers %d %s", async (body, status, text) => {
    expect(await answer(new NodeUnderTest(), "/restart", body)).toEqual([status, text]);
  });

  test("a restart cannot be scheduled while paused, and a scheduled one can be dropped", async () => {
    const node = new NodeUnderTest(facts({ paused: true }));
    expect(await answer(node, "/restart", { schedule: "2099-01-01T00:00:00Z" })).toEqual([
      500,
      "Can't schedule restart in the paused state",
    ]);
    expect((await apiOf(node)("DELETE", "/restart")).text).toBe("no restarts are scheduled");
    node.scheduled = true;
    expect((await apiOf(node)("DELETE", "/restart")).text).toBe("scheduled restart deleted");
  });

  test("reload is accepted at once", async () => {
    const node = new NodeUnderTest();
    expect(await answer(node, "/reload", "")).toEqual([202, "reload scheduled"]);
    expect(node.asked).toEqual(["reload"]);
  });

  test("reinitialize is refused on the leader, and takes booleans as text", async () => {
    expect(await answer(new NodeUnderTest(), "/reinitialize", {})).toEqual([503, "I am the leader, can not reinitialize"]);
    const node = new NodeUnderTest(replicaFacts());
    expect(await answer(node, "/reinitialize", { force: "True", "from-leader": "on" })).toEqual([200, "reinitialize started"]);
    expect(node.asked).toEqual(['reinitialize {"force":true,"fromLeader":true}']);
  });

  test("failsafe: 502 while off; on, the heartbeat is passed on and answered with the position", async () => {
    const beat = { name: "node1", conn_url: "postgres://a/postgres", api_url: "http://a/patroni" };
    const node = new NodeUnderTest(replicaFacts());
    expect((await apiOf(node)("GET", "/failsafe")).status).toBe(502);
    expect(await answer(node, "/failsafe", beat)).toEqual([502, "Failsafe mode is not enabled"]);
    node.current = replicaFacts({
      dynamic: { ...DYNAMIC, failsafeMode: true },
      cluster: cluster({ failsafe: { node1: "http://a/patroni" } }),
    });
    expect((await apiOf(node)("GET", "/failsafe")).text).toBe('{"node1": "http://a/patroni"}');
    const accepted = await apiOf(node)("POST", "/failsafe", beat);
    expect([accepted.status, accepted.text, accepted.headers.get("lsn")]).toEqual([200, "Accepted", "9007199254740993"]);
    const fields = { name: "node1", connUrl: beat.conn_url, apiUrl: beat.api_url };
    expect(node.beats).toEqual([{ ...fields, slots: {}, ttl: null }]);
    await answer(node, "/failsafe", { ...beat, ttl: 30, slots: { perm: 67108960, bad: -1, worse: "0/1" } });
    expect(node.beats.at(-1)).toEqual({ ...fields, slots: { perm: lsn(67108960) }, ttl: ms(30_000) });
    for (const wrong of [{ name: "node1" }, { ...beat, ttl: "soon" }, { ...beat, ttl: 1e9 }])
      expect((await answer(node, "/failsafe", wrong))[0]).toBe(400);
  });

  test("mpp events are passed on, and must be JSON objects", async () => {
    const node = new NodeUnderTest();
    expect(await answer(node, "/mpp", { type: "before_demote" })).toEqual([200, "OK"]);
    expect(await answer(node, "/citus", { type: "after_promote" })).toEqual([200, "OK"]);
    expect(node.mppEvents).toEqual([{ type: "before_demote" }, { type: "after_promote" }]);
    expect((await answer(node, "/mpp", "x"))[0]).toBe(400);
    expect(node.mppEvents).toHaveLength(2);
  });
});

describe("who may call the unsafe methods", () => {
  const authentication = { username: "admin", password: "pässword:with:colons" };
  const basic = (text: string) => ({ headers: { authorization: `Basic ${Buffer.from(text).toString("base64")}` } });

  test("without or with wrong credentials 401, and nothing happens; safe methods stay open", async () => {
    const node = new NodeUnderTest();
    const ask = apiOf(node, { authentication });
    const refused = await ask("POST", "/reload", {});
    expect([refused.status, refused.headers.get("www-authenticate")]).toEqual([401, 'Basic realm="Matriarch"']);
    for (const wrong of ["admin:wrong", "admin", ":", "other:pässword:with:colons", "admin:pässword:with:colons "]) {
      expect((await ask("POST", "/reload", {}, basic(wrong))).status).toBe(401);
    }
    expect((await ask("POST", "/reload", {}, { headers: { authorization: "Bearer x" } })).status).toBe(401);
    expect(node.asked).toEqual([]);
    expect((await ask("POST", "/reload", {}, basic("admin:pässword:with:colons"))).status).toBe(202);
    expect((await ask("GET", "/config")).status).toBe(200);
    expect((await ask("PATCH", "/config", "not even json")).status).toBe(401);
  });

  test("the allowlist takes addresses, networks and names; everybody else gets 403", async () => {
    const ask = apiOf(new NodeUnderTest(), { allowlist: ["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "localhost"] });
    const from = async (address: string) => (await ask("POST", "/reload", {}, { peer: { address } })).status;
    for (const address of ["10.1.255.1", "192.0.2.7", "::ffff:192.0.2.7", "2001:db8::5", "127.0.0.1"])
      expect([address, await from(address)]).toEqual([address, 202]);
    for (const address of ["10.2.0.1", "192.0.2.8", "2001:db9::5", ""]) expect([address, await from(address)]).toEqual([address, 403]);
    expect((await ask("GET", "/primary", undefined, { peer: { address: "10.2.0.1" } })).status).toBe(200);
  });

  test("allowlist_include_members lets the members in, and does not bind the failsafe heartbeat", async () => {
    const members = [
      leading("node1"),
      member("node2", { apiUrl: "https://[2001:db8::2]:8008/patroni" }),
      member("node3", { apiUrl: "http://192.0.2.3:8008/patroni" }),
    ];
    const mppMembers = [member("work1", { apiUrl: "http://192.0.2.7:8008/patroni" })];
    const node = new NodeUnderTest(facts({ cluster: cluster({ members }), mppMembers }));
    const ask = apiOf(node, { allowlistIncludeMembers: true });
    const from = async (address: string, path = "/reload") => (await ask("POST", path, {}, { peer: { address } })).status;
    expect([await from("192.0.2.3"), await from("2001:db8::2"), await from("192.0.2.4")]).toEqual([202, 202, 403]);
    expect(await from("192.0.2.4", "/failsafe")).not.toBe(403);
    // Of another group of the same MPP cluster.
    expect([await from("192.0.2.7", "/citus"), await from("192.0.2.4", "/citus")]).toEqual([200, 403]);
  });

  test("a name that cannot be resolved opens the door to nobody", async () => {
    const log = new LogUnderTest();
    const ask = apiOf(new NodeUnderTest(), { allowlist: ["no-such-host.invalid"] }, log);
    expect((await ask("POST", "/reload", {})).status).toBe(403);
  });

  test("with verify_client optional an unsafe method needs the certificate", async () => {
    const ask = apiOf(new NodeUnderTest());
    const without = { peer: { certificate: "unverified" as const } };
    expect([(await ask("POST", "/reload", {}, without)).status, (await ask("GET", "/primary", undefined, without)).status]).toEqual([
      403, 200,
    ]);
    expect((await ask("POST", "/reload", {}, { peer: { certificate: "verified" } })).status).toBe(202);
  });

  test("at most 32 unsafe requests wait at a time; the health paths go on", async () => {
    const node = new NodeUnderTest();
    let waiting = 0;
    node.restart = () => {
      waiting += 1;
      return new Promise(() => undefined);
    };
    const ask = apiOf(node);
    for (let count = 0; count < 32; count++) void ask("POST", "/restart");
    await until("32 wait", () => waiting === 32, { withinMs: 60_000 });
    expect((await ask("POST", "/reload", {})).status).toBe(503);
    expect((await ask("GET", "/primary")).status).toBe(200);
  });
});

test("every answer carries the configured headers and the server token", async () => {
  const ask = apiOf(new NodeUnderTest(), {
    httpExtraHeaders: { "X-Frame-Options": "SAMEORIGIN" },
    httpsExtraHeaders: { "Strict-Transport-Security": "max-age=1" },
    serverTokens: "ProductOnly",
  });
  for (const [method, path] of [
    ["GET", "/primary"],
    ["HEAD", "/primary"],
    ["GET", "/liveness"],
    ["GET", "/cluster"],
    ["GET", "/metrics"],
    ["POST", "/nonsense"],
  ] as const) {
    const { headers } = await ask(method, path);
    expect([path, headers.get("x-frame-options"), headers.get("server"), headers.get("strict-transport-security")]).toEqual([
      path,
      "SAMEORIGIN",
      "Matriarch",
      null,
    ]);
  }
});

test("routes that could not be loaded are loaded with the next request: a promise in failsafe mode is not refused for good", async () => {
  const node = new NodeUnderTest(replicaFacts());
  let short = false;
  const api = new Api({
    get service() {
      if (short) throw new Error("no memory");
      return node;
    },
    log: new LogUnderTest(),
    settings: () => restApi(),
    wallNow: Date.now,
  });
  const ask = async (): Promise<number> => (await api.handle(new Request("http://127.0.0.1:8008/history"), LOCAL_PEER)).status;
  short = true;
  expect(await ask()).toBe(500);
  short = false;
  expect(await ask()).toBe(200);
});
