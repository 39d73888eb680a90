// Goal: through a node's API ctl sees what its token may see, and takes a closed door for no empty room. Method: the real API on a socket,
// asked with and without a token.

import { afterEach, expect, test } from "bun:test";
import { startApi } from "../../../../lib/api/server.ts";
import { NodeApiStore } from "../../../../lib/cli/ctl/api-store.ts";
import { LatePeers } from "../../../../lib/cli/ctl/late-peers.ts";
import type { RestApiConfig } from "../../../../lib/model/node-config.ts";
import { ms } from "../../../../lib/model/units.ts";
import { realClock } from "../../../../lib/runtime/clock.ts";
import { LogUnderTest, NodeUnderTest, restApi } from "../../api/node-under-test.ts";

const READ = "a-token-that-may-read";
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function storeOf(settings: Partial<RestApiConfig>, token: string | null): Promise<NodeApiStore> {
  const tokens = [{ name: "reader", role: "read" as const, token: READ }];
  const started = await startApi({ config: restApi({ tokens, ...settings }), service: new NodeUnderTest(), log: new LogUnderTest() });
  if (!started.ok) throw new Error(started.error.message);
  const ctl = { insecure: false, authentication: null, token, cacert: null, certfile: null, keyfile: null, keyfilePassword: null };
  const clock = realClock();
  const peers = new LatePeers({ ctl, restapi: restApi(), clock });
  closing.push(
    () => peers.close(),
    () => started.value.stop(),
  );
  return new NodeApiStore({ peers, clock, urls: [`http://127.0.0.1:${started.value.port}`] });
}

async function keys(store: NodeApiStore): Promise<readonly string[] | string> {
  const read = await store.snapshot("service/demo/", { deadline: ms(realClock().now() + 20_000) });
  return read.ok ? read.value.entries.map(({ key }) => key) : JSON.stringify(read.error);
}

test.each(["/config", "/history", "/cluster"] as const)("%s that is closed is told of, and opened by a token", async (path) => {
  const refused = await keys(await storeOf({ protectedPaths: [path] }, null));
  expect(refused).toContain(`GET ${path}`);
  expect(refused).toContain("401");
  expect(await keys(await storeOf({ protectedPaths: [path] }, READ))).toContain("service/demo/config");
});

test("a token that may only read changes nothing, and is told so", async () => {
  const store = await storeOf({}, READ);
  expect(await keys(store)).toContain("service/demo/config");
  const written = await store.put("service/demo/config", "{}", { deadline: ms(realClock().now() + 20_000) });
  expect(written).toMatchObject({ ok: false, error: { kind: "rejected" } });
  expect(JSON.stringify(written)).toContain("needs admin");
  expect(JSON.stringify(written)).not.toContain(READ);
});
