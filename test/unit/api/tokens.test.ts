// Goal: a token opens what its role may do and nothing else, on every route; who has none stays outside; no log and no answer holds it.
// Method: each route of the API is asked with each role; the node beneath records what it was asked.

import { describe, expect, test } from "bun:test";
import { roleNeeded } from "../../../lib/api/roles.ts";
import { apiRoutes } from "../../../lib/api/routes.ts";
import { HEALTH_PATHS } from "../../../lib/core/role-health.ts";
import { type ApiToken, PROTECTABLE_PATHS, TOKEN_ROLES, type TokenRole } from "../../../lib/model/api-access.ts";
import { apiOf } from "./asking.ts";
import { LogUnderTest, NodeUnderTest, replicaFacts, restApi } from "./node-under-test.ts";

const TOKENS: readonly ApiToken[] = [
  { name: "grafana", role: "read", token: "hush-read-0123456789" },
  { name: "ci", role: "operate", token: "hush-operate-0123456789" },
  { name: "dba", role: "admin", token: "hush-admin-0123456789" },
];
const tokenOf = (role: TokenRole): string => TOKENS.find((token) => token.role === role)?.token ?? "";
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const basic = (text: string) => ({ headers: { authorization: `Basic ${btoa(text)}` } });

/** Every unsafe route that there is, as "METHOD /path". */
const UNSAFE = apiRoutes({ service: new NodeUnderTest(), log: new LogUnderTest(), settings: () => restApi(), wallNow: Date.now })
  .routes.filter(({ method }) => !["GET", "ALL"].includes(method))
  .map(({ method, path }) => `${method} ${path}`);

describe("what a role may do", () => {
  test("is decided for every unsafe route: the configuration and failovers are an admin's", () => {
    const split = (request: string): [string, string] => [request.split(" ")[0] ?? "", request.split(" ")[1] ?? ""];
    expect(UNSAFE.filter((request) => roleNeeded(...split(request)) === "operate").sort()).toEqual([
      "DELETE /restart",
      "DELETE /switchover",
      "POST /citus",
      "POST /failsafe",
      "POST /mpp",
      "POST /reinitialize",
      "POST /reload",
      "POST /restart",
      "POST /switchover",
    ]);
    expect(UNSAFE.filter((request) => roleNeeded(...split(request)) === "admin").sort()).toEqual([
      "PATCH /config",
      "POST /failover",
      "PUT /config",
    ]);
  });

  test.each(UNSAFE)(
    "%s: a weaker token gets 403 and changes nothing, none and a wrong one 401; a strong one is let in",
    async (request) => {
      const [method = "", path = ""] = request.split(" ");
      const needed = roleNeeded(method, path);
      const node = new NodeUnderTest(replicaFacts());
      const ask = apiOf(node, { tokens: TOKENS });
      const status = async (options = {}) => (await ask(method, path, "no json", options)).status;
      for (const role of TOKEN_ROLES.slice(0, TOKEN_ROLES.indexOf(needed))) {
        const refused = await ask(method, path, "no json", bearer(tokenOf(role)));
        const name = TOKENS.find((token) => token.role === role)?.name;
        expect([refused.status, refused.text]).toEqual([403, `the token ${name} has the role ${role}: ${request} needs ${needed}`]);
        expect(refused.headers.get("www-authenticate")).toContain("insufficient_scope");
      }
      expect(await status()).toBe(401);
      for (const wrong of ["hush", `${tokenOf("admin")}x`, tokenOf("admin").slice(0, -1), tokenOf("admin").toUpperCase()])
        expect(await status(bearer(wrong))).toBe(401);
      expect(await status(basic(`dba:${tokenOf("admin")}`))).toBe(401);
      expect([node.asked, node.restarts, node.failovers]).toEqual([[], [], []]);
      for (const role of TOKEN_ROLES.slice(TOKEN_ROLES.indexOf(needed)))
        expect([401, 403]).not.toContain(await status(bearer(tokenOf(role))));
    },
  );
});

describe("reading", () => {
  const READ = PROTECTABLE_PATHS.flatMap((path) => ["GET", "HEAD", "OPTIONS"].map((method) => [method, path] as const));

  test("stays open where no path is closed, tokens or not", async () => {
    const ask = apiOf(new NodeUnderTest(), { tokens: TOKENS });
    for (const [method, path] of READ) expect([path, (await ask(method, path)).status]).toEqual([path, 200]);
  });

  test("a closed path wants any token, or the user; also under other spellings", async () => {
    const authentication = { username: "u", password: "p" };
    const ask = apiOf(new NodeUnderTest(), { tokens: TOKENS, authentication, protectedPaths: PROTECTABLE_PATHS });
    for (const [method, path] of READ) {
      for (const spelled of [path, `${path}/`, `/${path}`, `${path}?member=node1`]) {
        const refused = await ask(method, spelled);
        expect([spelled, refused.status]).toEqual([spelled, 401]);
        expect(refused.headers.get("www-authenticate")).toBe('Basic realm="Matriarch", Bearer realm="Matriarch"');
      }
      for (const options of [...TOKENS.map(({ token }) => bearer(token)), basic("u:p")])
        expect([path, (await ask(method, path, undefined, options)).status]).toEqual([path, 200]);
      expect((await ask(method, path, undefined, bearer("hush"))).status).toBe(401);
    }
    // Whatever the router would not take for the path shows nothing of it.
    expect((await ask("GET", "/%63onfig")).text).not.toContain("loop_wait");
    expect((await ask("GET", "/CONFIG")).text).not.toContain("loop_wait");
  });

  test("one closed path closes no other, and never a health path", async () => {
    const ask = apiOf(new NodeUnderTest(), { tokens: TOKENS, protectedPaths: ["/config"] });
    expect([(await ask("GET", "/config")).status, (await ask("GET", "/metrics")).status]).toEqual([401, 200]);
    for (const path of ["/patroni", ...HEALTH_PATHS.keys()]) expect([401, 403]).not.toContain((await ask("GET", path)).status);
  });
});

describe("without tokens", () => {
  test("everything is open as before, and a bearer's word opens nothing that a password closes", async () => {
    const open = apiOf(new NodeUnderTest());
    expect((await open("POST", "/reload", {}, bearer("anything"))).status).toBe(202);
    const closed = await apiOf(new NodeUnderTest(), { authentication: { username: "u", password: "p" } })(
      "POST",
      "/reload",
      {},
      bearer("p"),
    );
    expect([closed.status, closed.text, closed.headers.get("www-authenticate")]).toEqual([
      401,
      "user name or password is wrong",
      'Basic realm="Matriarch"',
    ]);
  });
});

test("beside tokens the user of restapi.authentication may do everything", async () => {
  const ask = apiOf(new NodeUnderTest(), { tokens: TOKENS, authentication: { username: "u", password: "p" } });
  expect((await ask("PATCH", "/config", { ttl: 40 }, basic("u:p"))).status).toBe(200);
  expect((await ask("PATCH", "/config", { ttl: 40 }, basic("u:x"))).status).toBe(401);
});

test("the log tells which token did what, and holds none; members' heartbeats are not told", async () => {
  const log = new LogUnderTest();
  const ask = apiOf(new NodeUnderTest(), { tokens: TOKENS }, log);
  const texts = [
    await ask("POST", "/reload", {}, bearer(tokenOf("operate"))),
    await ask("POST", "/failsafe", {}, bearer(tokenOf("operate"))),
    await ask("PATCH", "/config", {}, bearer(tokenOf("operate"))),
    await ask("PATCH", "/config", {}, bearer("hush-wrong-0123456789")),
  ].map(({ text, headers }) => text + JSON.stringify([...headers]));
  expect(log.lines.filter((line) => line.startsWith("INFO"))).toEqual(["INFO REST API: POST /reload by the token ci"]);
  expect([...log.lines, ...texts].join("\n")).not.toContain("hush");
});
