// Goal: the discovery that runs alone speaks for a leader only while the node's own API has just said that it leads. Method: answers of a
// status document and of the health paths by a server of the test.

import { expect, test } from "bun:test";
import { ms, seconds } from "../../../lib/model/units.ts";
import { ApiSource } from "../../../lib/runtime/alone/discovery.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { PeerClient } from "../../../lib/runtime/peer-client.ts";
import { loadTemplate } from "../../simulation/node-config.ts";

test("a node that falls silent, or is between two states, is not spoken for as a leader any more; its entry stays for the check to judge", async () => {
  let state = "running";
  const api = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json({ state, role: "primary", timeline: 7 }) });
  const template = await loadTemplate();
  const node = { ...template, restapi: { ...template.restapi, connectAddress: { host: "127.0.0.1", port: api.port ?? 0 } } };
  const clock = realClock();
  const peers = new PeerClient({ restapi: node.restapi, ctl: node.ctl, clock });
  const source = new ApiSource(node, peers, () => ms(clock.now() + seconds(30)));
  try {
    await source.look();
    expect(source.wanted()).toMatchObject({ role: "primary", healthy: true });
    expect(source.holdsLock()).toBe(true);
    state = "stopping";
    await source.look();
    expect(source.holdsLock()).toBe(false);
    state = "running";
    await source.look();
    expect(source.holdsLock()).toBe(true);
    await api.stop(true);
    await source.look();
    expect(source.holdsLock()).toBe(false);
    expect(source.wanted()).toMatchObject({ role: "primary", healthy: false });
  } finally {
    await peers.close();
    await api.stop(true);
  }
});
