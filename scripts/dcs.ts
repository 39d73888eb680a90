#!/usr/bin/env bun
// Owns nothing but the entry: single keys of the store from a shell. The commands are in lib/cli/dcs.ts.

import { runDcs } from "../lib/cli/dcs.ts";
import { realClock } from "../lib/runtime/clock.ts";

const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort());

process.exitCode = await runDcs(process.argv.slice(2), {
  clock: realClock(),
  env: process.env,
  out: (text) => process.stdout.write(text),
  complain: (text) => process.stderr.write(text),
  signal: interrupted.signal,
});
