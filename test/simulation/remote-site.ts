// Owns the site that a standby cluster follows: one PostgreSQL elsewhere, which nobody here manages, and what happens to it. Its clients
// write all the time; what they are promised is its own cluster's.

import { FakeServer } from "./fake-server.ts";
import { type Fault, patchConfig } from "./faults.ts";
import type { Servers } from "./servers.ts";

export const REMOTE = "remote";

/** What a standby cluster's configuration says of it. */
export const STANDBY_CLUSTER = { host: REMOTE, port: 5432 };

/** A primary that runs and takes writes from now on. */
export function remoteSite(servers: Servers): FakeServer {
  const server = new FakeServer(REMOTE, servers);
  servers.all.push(server);
  servers.byAddress.set(`${STANDBY_CLUSTER.host}:${STANDBY_CLUSTER.port}`, server);
  server.initdb(servers.fork(null, 1, "7000000000000000001"));
  server.launch({ role: "primary", follow: null, syncNames: null });
  return server;
}

export const SITE_FAULTS: Readonly<Record<string, Fault>> = {
  "site-down": (world, timer, random) => {
    const { site } = world;
    if (site === null || !site.up) return null;
    site.kill();
    timer.for(random.between(1_000, 90_000), () => comeBack(site));
    return "";
  },
  /** Its cluster fails over: to a new timeline, from a little before what the old one has sent here. */
  "site-failover": (world, timer, random) => {
    const { site } = world;
    if (site === null || !site.up) return null;
    site.kill();
    const { branch, lsn } = site.wal;
    const at = Math.max(branch.forkedAt, lsn - random.pick([0, 0, 3_000, 20_000]));
    site.branch = world.servers.fork({ branch, lsn: at }, world.servers.nextTimeline(branch.timeline));
    site.lsn = at + 80;
    site.checkpointLsn = at;
    site.controlState = "in production";
    timer.for(random.between(500, 30_000), () => comeBack(site));
    return `at ${at}`;
  },
  "site-cut": (world, timer, random) => {
    if (world.site === null) return null;
    const pairs = world.nodes.filter(() => random.chance(0.7)).map(({ name }) => name);
    for (const name of pairs) {
      world.network.cut(name, REMOTE);
      world.network.cut(REMOTE, name);
    }
    world.servers.lookAtLinks();
    timer.for(random.between(1_000, 90_000), () => {
      for (const name of pairs) {
        world.network.mend(name, REMOTE);
        world.network.mend(REMOTE, name);
      }
      world.servers.lookAtLinks();
    });
    return pairs.join(" ");
  },
  /** The cluster leads a life of its own for a while (promote-cluster), and gives up what it wrote (demote-cluster). */
  "site-left": (world, timer, random) => {
    if (world.site === null || world.ownLife || !patchConfig(world, { standby_cluster: undefined })) return null;
    world.ownLife = true;
    world.hasLeftSite = true;
    timer.for(random.between(10_000, 240_000), () => {
      patchConfig(world, { standby_cluster: STANDBY_CLUSTER });
      world.ownLife = false;
      world.invariants.forgetAcknowledged();
    });
    return "";
  },
};

function comeBack(site: FakeServer): void {
  if (site.postmaster === null) site.launch({ role: "primary", follow: null, syncNames: null });
}
