import { expect, test } from "bun:test";
import { createServer } from "node:net";
import { type Ms, ms } from "../../../lib/model/units.ts";
import { whyNotByName } from "../../../lib/runtime/start-checks.ts";
import { cluster, member } from "../core/observations.ts";
import { Bench } from "./fenced-node.ts";

test("a node of our name that took its time to connect has all of its time to answer", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  const bench = new Bench();
  const a = await bench.node("replica");
  a.state.cluster = cluster({ members: [member("a", { apiUrl: `http://127.0.0.1:${port}/patroni` })] });
  const deadlines: Ms[] = [];
  a.peers.ask = async (_url, deadline) => {
    deadlines.push(deadline);
    return null;
  };
  const asked = whyNotByName(a);
  await bench.clock.advance(900);
  expect(await asked).toBeNull();
  expect(deadlines).toEqual([ms(1_900)]);
  await new Promise((resolve) => server.close(resolve));
});
