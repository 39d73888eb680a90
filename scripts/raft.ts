#!/usr/bin/env bun
// Owns nothing but the entry: the members of the built-in Raft from a shell. The commands are in lib/cli/raft.

import { runRaft } from "../lib/cli/raft/program.ts";
import { realClock } from "../lib/runtime/clock.ts";

// A request under way is not waited for; whether it was applied shows `members`.
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => process.exit(130));

process.exitCode = await runRaft(process.argv.slice(2), {
  clock: realClock(),
  env: process.env,
  out: (text) => process.stdout.write(text),
  complain: (text) => process.stderr.write(text),
});
