// Goal: the address of the primary's host follows it, and is never on two: not in a switchover, nor where the supervisor is killed or hangs.
// Method: nodes on hosts of their own with a wire between them; the kernel tells of each coming and going of the address.

import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { programRunner } from "../../lib/postgres/programs.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { announceAddress, putAddress, removeAddress } from "../../lib/runtime/vip/interface-address.ts";
import { AddressWatch, untilAddressLeadsTo } from "../harness/address-sight.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { type HostCluster, withHostCluster } from "../harness/host-cluster.ts";
import { HostNetwork, whyNoNamespaces } from "../harness/namespaces.ts";
import { findProxy } from "../harness/proxies.ts";
import { cases, PROMPT, TTL_MS } from "../harness/times.ts";
import { until } from "../harness/wait.ts";
import { loadTemplate } from "../simulation/node-config.ts";

const reason = whyNoNamespaces();
if (reason !== null) console.log(`skipped: hosts of their own: ${reason}`);
const ANNOUNCERS = { IPv4: "arping", IPv6: "ndptool" } as const;
type Family = keyof typeof ANNOUNCERS;

/** Path of the program that announces; `true`, which does nothing, where it cannot be had. */
function announcer(family: Family): string {
  const found = reason === null ? findProxy(ANNOUNCERS[family]) : reason;
  if (typeof found !== "string") return found.path;
  console.log(`without announcements: ${ANNOUNCERS[family]}: ${found}`);
  return "true";
}

/** Fetched before any test's time runs. */
const announcers = { IPv4: announcer("IPv4"), IPv6: announcer("IPv6") };
/** Deadlines for a busy machine. */
const MOVED_WITHIN_MS = 60_000;
const TAKEOVER_WITHIN_MS = TTL_MS + 60_000;
/** What becomes of the primary's supervisor after the switchover. */
type Death = "killed" | "stopped";
const deaths = cases<Death>([], ["killed", "stopped"]);

afterAll(async () => {
  await TestCluster.stopAll();
  HostNetwork.closeAll();
});

describe.skipIf(reason !== null)("the address of the primary's host", () => {
  test(
    `follows a switchover${deaths.map((death) => ` and a supervisor that is ${death}`).join("")}, and is never on two hosts`,
    () => follows("IPv4", deaths),
    600_000,
  );

  for (const family of ["IPv4", "IPv6"] as const)
    test(
      `of ${family}: neighbours learn where it is, it goes with its lifetime, and taking off what is gone is no fault`,
      () => comesAndGoes(family),
      120_000,
    );

  for (const family of cases([], ["IPv6"] as const))
    test(
      `of ${family} follows a switchover, a supervisor that is killed and one that is stopped, and is never on two hosts`,
      () => follows(family, ["killed", "stopped"]),
      600_000,
    );
});

/** The commands alone, on a host without a node: what a neighbour knows is another host's until it is announced. */
async function comesAndGoes(family: Family): Promise<void> {
  const network = HostNetwork.create(2);
  try {
    const program = announcers[family];
    const [here, neighbour] = [network.host(0).enter, network.host(1).enter];
    const address = family === "IPv4" ? network.freeAddress : network.addIpv6();
    const commands = { ipCommand: [...here, "ip"].join(" "), arpingCommand: `${here.join(" ")} ${program}` };
    const vip = { address, prefixLength: 24, interface: "wire", ...commands, ndptoolCommand: commands.arpingCommand };
    const clock = realClock();
    const parts = { clock, run: programRunner((await loadTemplate()).postgresql, clock) };
    const isThere = () => network.hostsWith(address).length > 0;
    // A machine that is busy may end a command in its second: each can be repeated.
    const done = (what: string, work: () => Promise<{ readonly ok: boolean }>) =>
      until(what, async () => (await work()).ok, { withinMs: MOVED_WITHIN_MS });
    const elsewhere = "02:00:00:00:0f:0f";
    const known = (): string => command([...neighbour, "ip", "neighbour", "show", address]);
    command([...neighbour, "ip", "neighbour", "replace", address, "lladdr", elsewhere, "dev", "wire", "nud", "stale"]);
    await done("it is put there", () => putAddress(parts, vip, 60));
    expect(isThere()).toBe(true);
    expect(known()).toContain(elsewhere);
    if (program !== "true") {
      await done("it is announced", () => announceAddress(parts, vip, new AbortController().signal));
      await until("the neighbour knows", () => !known().includes(elsewhere), { withinMs: MOVED_WITHIN_MS });
    }
    await done("it is taken off", () => removeAddress(parts, vip));
    expect(isThere()).toBe(false);
    await done("and once more", () => removeAddress(parts, vip));
    await done("it is put there for a second", () => putAddress(parts, vip, 1));
    await until("its lifetime is over", () => !isThere(), { withinMs: MOVED_WITHIN_MS });
  } finally {
    network.close();
  }
}

/** What it says. Throws Error where its exit status is not 0. */
function command([program = "", ...args]: readonly string[]): string {
  const ran = spawnSync(program, args, { encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${ran.stderr}`);
  return ran.stdout;
}

async function follows(family: Family, deaths: readonly Death[]): Promise<void> {
  const program = announcers[family];
  let address = "";
  const configure = (config: Tree, network: HostNetwork) => {
    if (address === "") address = family === "IPv4" ? network.freeAddress : network.addIpv6();
    const vip = { address: `${address}/${family === "IPv4" ? 24 : 64}`, interface: "wire" };
    config["vip"] = { ...vip, [`${ANNOUNCERS[family]}_command`]: `'${program}'` };
    if (family === "IPv4") return;
    const postgresql = config["postgresql"] as Tree;
    const rules = [...(postgresql["pg_hba"] as readonly string[]), `host all all ${address}/64 scram-sha-256`];
    config["postgresql"] = { ...postgresql, listen: String(postgresql["listen"]).replace("0.0.0.0", "0.0.0.0,::"), pg_hba: rules };
  };
  const options = { nodes: deaths.length === 0 ? 2 : 3, dynamic: PROMPT, networkAdmin: true, configure };
  await withHostCluster(options, async (hosts) => {
    const { cluster, network } = hosts;
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
}

/** The supervisor of the primary is out of action for good; resolves to the next primary, with the whole cluster streaming from it. */
async function takenOver(
  { cluster }: HostCluster,
  old: ClusterNode,
  death: Death,
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
