// Goal: the address of the primary's host follows it, and is never on two: not in a switchover, nor where the supervisor is killed or hangs.
// Method: nodes on hosts of their own with a wire between them; the kernel tells of each coming and going of the address.

import { afterAll, describe, expect, test } from "bun:test";
import { AddressWatch, untilAddressLeadsTo } from "../harness/address-sight.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { type HostCluster, withHostCluster } from "../harness/host-cluster.ts";
import { HostNetwork, whyNoNamespaces } from "../harness/namespaces.ts";
import { findProxy } from "../harness/proxies.ts";
import { cases, PROMPT, TTL_MS } from "../harness/times.ts";
import { until } from "../harness/wait.ts";

const reason = whyNoNamespaces();
if (reason !== null) console.log(`skipped: hosts of their own: ${reason}`);
const found = reason === null ? findProxy("arping") : reason;
if (typeof found === "string") console.log(`without announcements: arping: ${found}`);

/** Deadlines for a busy machine. */
const MOVED_WITHIN_MS = 60_000;
const TAKEOVER_WITHIN_MS = TTL_MS + 60_000;
/** What becomes of the primary's supervisor after the switchover. */
const deaths = cases([], ["killed", "stopped"] as const);

afterAll(async () => {
  await TestCluster.stopAll();
  HostNetwork.closeAll();
});

describe.skipIf(reason !== null)("the address of the primary's host", () => {
  test(`follows a switchover${deaths.map((death) => ` and a supervisor that is ${death}`).join("")}, and is never on two hosts`, async () => {
    const configure = (config: { [key: string]: unknown }, network: HostNetwork) => {
      const arping = typeof found === "string" ? "true" : found.path;
      config["vip"] = { address: `${network.freeAddress}/24`, interface: "wire", arping_command: `'${arping}'` };
    };
    const options = { nodes: deaths.length === 0 ? 2 : 3, dynamic: PROMPT, networkAdmin: true, configure };
    await withHostCluster(options, async (hosts) => {
      const { cluster, network } = hosts;
      const address = network.freeAddress;
      const watch = new AddressWatch(address);
      try {
        const leader = await cluster.untilHealthy();
        const [heir = leader] = cluster.others(leader);
        const leadsTo = (node: ClusterNode) => untilAddressLeadsTo({ cluster, network, address, node, withinMs: MOVED_WITHIN_MS });
        await leadsTo(leader);
        // Renewed, so that the watch has surely seen it.
        const first = await until("the kernel tells of it", () => watch.holder, { withinMs: MOVED_WITHIN_MS });
        const body = { leader: leader.name, candidate: heir.name };
        const moved = leader.api("/switchover", { method: "POST", body, timeoutMs: MOVED_WITHIN_MS });
        await cluster.untilLeader({ among: [heir] });
        await leadsTo(heir);
        console.log(`switchover: ${(await moved).text}`);
        expect(watch.holder).not.toBe(first);
        let primary = heir;
        for (const death of deaths) primary = await takenOver(hosts, primary, death, leadsTo);
        expect(watch.overlaps).toEqual([]);
      } finally {
        watch.close();
      }
    });
  }, 600_000);
});

/** The supervisor of the primary is out of action for good; resolves to the next primary, with the whole cluster streaming from it. */
async function takenOver(
  { cluster }: HostCluster,
  old: ClusterNode,
  death: "killed" | "stopped",
  leadsTo: (node: ClusterNode) => Promise<void>,
): Promise<ClusterNode> {
  await cluster.untilHealthy();
  if (death === "killed") await old.killSupervisor();
  else old.sigstop();
  const next = await cluster.untilLeader({ among: cluster.others(old), withinMs: TAKEOVER_WITHIN_MS });
  await leadsTo(next);
  if (death === "killed") old.start();
  else old.sigcont();
  expect(await cluster.untilHealthy()).toBe(next);
  await leadsTo(next);
  return next;
}
