// Owns running scripts/raft.ts as an operator does, as a process of its own.

import { join } from "node:path";

const PROGRAM = join(import.meta.dir, "../../scripts/raft.ts");

export interface Said {
  readonly status: number;
  readonly out: string;
  readonly complaints: string;
}

/** One command; its variables are these alone. */
export async function runRaftCommand(
  words: readonly string[],
  options: Pick<Parameters<typeof Bun.spawn>[1] & object, "env" | "uid" | "gid">,
): Promise<Said> {
  const child = Bun.spawn([process.execPath, "run", PROGRAM, ...words], {
    ...options,
    cwd: "/",
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, complaints] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { status: await child.exited, out, complaints };
}
