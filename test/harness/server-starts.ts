// Owns how a test sees that a PostgreSQL was started anew: the start time of each node's postmaster, asked of PostgreSQL itself.

import type { TestCluster } from "./cluster.ts";

/** By the node's name. Throws where one does not answer. */
export async function serverStarts(cluster: TestCluster): Promise<Readonly<Record<string, string>>> {
  const rows = await Promise.all(
    cluster.nodes.map(async (node) => {
      const [row] = await cluster.sql<{ at: string }>(node, "select pg_postmaster_start_time()::text as at");
      if (row === undefined) throw new Error(`${node.name} does not say when it was started`);
      return [node.name, row.at] as const;
    }),
  );
  return Object.fromEntries(rows);
}
