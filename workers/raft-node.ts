// A member of the built-in Raft without PostgreSQL: a witness that gives two nodes a majority (docs/raft.md).
// Alone: `bun run workers/raft-node.ts [witness.yml]`; the raft section, or PATRONI_RAFT_* variables, are all it needs.

/** Alone. Value: the exit status. */
export async function main(): Promise<number> {
  const { mainOfRaftNode } = await import("../lib/runtime/alone/raft-node.ts");
  return await mainOfRaftNode();
}

if (import.meta.main) process.exit(await main());
