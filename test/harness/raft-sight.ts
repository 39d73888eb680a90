// Owns the look at the Raft of a test cluster: who leads it, and moving that. Knows nothing of PostgreSQL.

import { askEveryone, askLeader, type MembersLink, statusesOf } from "../../lib/cli/raft/conversation.ts";
import { openMembersLink } from "../../lib/cli/raft/members-link.ts";
import type { RaftStatus } from "../../lib/dcs/raft/kv/client-protocol.ts";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import type { ClusterNode } from "./cluster-node.ts";
import { addressAmongMembers } from "./cluster-store.ts";
import { recordingLog } from "./recording-log.ts";
import { raftClient } from "./store-sight.ts";
import { until } from "./wait.ts";

const ANSWER_MAX_MS = 3_000;

/** What each member that runs says of itself. */
export async function raftStatuses(nodes: readonly ClusterNode[]): Promise<readonly RaftStatus[]> {
  return withLink(nodes, async (link, addresses) => statusesOf(await askEveryone(link, addresses, deadline())));
}

/** The node whose member leads the Raft; waits for one. */
export function untilRaftLeader(nodes: readonly ClusterNode[], withinMs = 15_000): Promise<ClusterNode> {
  return until(
    "a leader of the Raft",
    async () => {
      const leader = (await raftStatuses(nodes)).find(({ role }) => role === "leader");
      return nodes.find((node) => leader !== undefined && addressAmongMembers(node.place) === leader.member.address);
    },
    { withinMs, everyMs: 50 },
  );
}

/** Makes the member of `node` the leader of the Raft. */
export async function leadRaft(nodes: readonly ClusterNode[], node: ClusterNode): Promise<void> {
  await until(
    `${node.name} leads the Raft`,
    async () => {
      if ((await untilRaftLeader(nodes)) === node) return true;
      const request = { kind: "transfer", to: addressAmongMembers(node.place) } as const;
      await withLink(nodes, (link, addresses) => askLeader(link, { addresses, request, deadline: deadline() }));
      return false;
    },
    { withinMs: 20_000, everyMs: 50 },
  );
}

async function withLink<T>(
  nodes: readonly ClusterNode[],
  use: (link: MembersLink, addresses: readonly string[]) => Promise<T>,
): Promise<T> {
  const alive = nodes.filter(({ pid }) => pid !== null).map(({ place }) => place);
  const link = openMembersLink(raftClient(alive), { clock: realClock(), log: recordingLog() });
  if (!link.ok) throw new Error(link.error.message);
  try {
    return await use(
      link.value,
      alive.map(({ host, raftPort }) => `${host}:${raftPort}`),
    );
  } finally {
    await link.value.close();
  }
}

function deadline(): ReturnType<typeof ms> {
  return ms(realClock().now() + ANSWER_MAX_MS);
}
