// Owns what operators ask of nodes over REST and of the cluster by appointment, and what an operator's own check says before a promotion.
// Beside the faults (faults.ts), in some clusters only (settings.ts).

import { encodeFailover } from "../../lib/dcs/encode.ts";
import type { RestartRequest } from "../../lib/runtime/node-service.ts";
import type { Fault, FaultTimer } from "./faults.ts";
import type { Random } from "./random.ts";
import type { SimNode } from "./sim-node.ts";
import type { World } from "./world.ts";

const AT_ONCE: RestartRequest = { role: null, postgresVersion: null, timeoutMs: null, restartPending: false };

export const REQUESTS: Readonly<Record<string, Fault>> = {
  restart: (world, _timer, random) => {
    const node = random.chance(0.4) ? (world.leader() ?? random.pick(world.nodes)) : random.pick(world.nodes);
    return node.supervisor?.operate((service) => service.restart(AT_ONCE)) === true ? node.name : null;
  },
  "restart-scheduled": (world, timer, random) => {
    const node = random.pick(world.nodes);
    const { supervisor } = node;
    const at = appointment(node, random);
    if (supervisor?.operate((service) => service.scheduleRestart(at, AT_ONCE)) !== true) return null;
    timer.for(KEPT_MS, () => void supervisor.operate((service) => service.deleteScheduledRestart()));
    return `${node.name} at ${at}`;
  },
  reinitialize: (world, _timer, random) => {
    const node = random.pick(world.nodes);
    const options = { force: random.chance(0.3), fromLeader: random.chance(0.5) };
    return node.supervisor?.operate((service) => service.reinitialize(options)) === true ? node.name : null;
  },
  "switchover-scheduled": (world, timer, random) => {
    const leader = world.leader();
    if (leader === null) return null;
    const others = world.nodes.filter((node) => node !== leader);
    const member = random.chance(0.5) && others.length > 0 ? random.pick(others).name : null;
    const at = appointment(leader, random);
    world.cluster.apply([
      { kind: "put", key: world.keys.failover, value: encodeFailover({ leader: leader.name, member, scheduled_at: at }) },
    ]);
    forgetAppointment(world, timer);
    return `${leader.name} to ${member ?? "any"} at ${at}`;
  },
  "promotion-vetoed": (world, timer, random) => {
    const node = random.pick(world.nodes);
    if (node.config.postgresql.prePromote === null) return null;
    node.server.vetoed += 1;
    timer.for(random.between(10_000, 120_000), () => {
      node.server.vetoed -= 1;
    });
    return node.name;
  },
};

/** By the machine's own wall clock, which may be wrong. */
function appointment(node: SimNode, random: Random): string {
  return new Date(Math.round(node.machine.wall() + random.between(2_000, 60_000))).toISOString();
}

/** After this, and when all is healed, what was not carried out is taken back. */
const KEPT_MS = 90_000;

function forgetAppointment(world: World, timer: FaultTimer): void {
  timer.for(KEPT_MS, () => {
    if (world.view().failover?.scheduledAt != null) world.cluster.apply([{ kind: "delete", key: world.keys.failover }]);
  });
}
