#!/usr/bin/env bun
// Owns nothing but the entry: the cluster from a shell. The commands are in lib/cli/ctl.

import { runCtl } from "../lib/cli/ctl/program.ts";
import { StandardInput } from "../lib/cli/ctl/terminal.ts";
import { realClock } from "../lib/runtime/clock.ts";

const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.once(name, () => {
    interrupted.abort();
    // A request under way is not waited for; whether it was applied shows `list`.
    setTimeout(() => process.exit(130), 500).unref();
  });
}
// Whoever reads our output may stop (`| head`): then there is nobody to write for.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});
const input = new StandardInput(interrupted.signal);

process.exitCode = await runCtl(process.argv.slice(2), {
  clock: realClock(),
  env: process.env,
  invocation: [process.execPath, "run", import.meta.path],
  outIsTerminal: process.stdout.isTTY === true,
  signal: interrupted.signal,
  out: (text) => {
    process.stdout.write(text);
  },
  complain: (text) => process.stderr.write(text),
  readLine: (echo) => input.readLine(echo),
  readAll: () => input.readAll(),
});
input.close();
