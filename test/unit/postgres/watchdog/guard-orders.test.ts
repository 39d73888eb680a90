// Goal: the guard loses no order, whenever it comes: an extension that was lost would end a primary that is well.
// Method: the guard itself with a wait of 2 ms, so that its waits end in the middle of orders all the time.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { makeFifo } from "../../../../lib/postgres/watchdog/libc.ts";
import { processId, uptimeMs } from "../../../../lib/postgres/watchdog/process-table.ts";

const SCRIPT = resolve(import.meta.dir, "../../../../lib/postgres/watchdog/guard.sh");
const TOKEN = "c0ffee";
const ORDERS = 600;
/** Nothing is judged by it. */
const PATIENCE_MS = 60_000;

let folder: string;
let guard: ChildProcess;
let orders: number;
let said = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "guard orders-"));
  for (const name of ["in", "idle"]) makeFifo(join(folder, name), 0o600);
  const self = processId(process.pid);
  writeFileSync(join(folder, "run.lock"), `${process.pid} ${self?.startTicks} ${TOKEN}\n`);
  guard = spawn("bash", [SCRIPT, join(folder, "run.lock"), "2"], { cwd: folder, stdio: ["ignore", "pipe", "ignore"] });
  guard.stdout?.on("data", (data: Buffer) => {
    said += data.toString();
  });
  await untilSaid("ready");
  orders = openSync(join(folder, "in"), constants.O_WRONLY);
});
afterAll(() => {
  guard.kill("SIGKILL");
  closeSync(orders);
  rmSync(folder, { recursive: true, force: true });
});

async function untilSaid(words: string): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; !said.includes(words); await Bun.sleep(1)) {
    if (performance.now() > end) throw new Error(`the guard did not say ${words}:\n${said}`);
  }
}

test(
  "an order that comes while a wait ends is obeyed, each one",
  async () => {
    const later = Math.floor(uptimeMs() ?? 0) + 600_000;
    writeSync(orders, `arm ${TOKEN} 1 ${later} 300 0 0 0 ${folder} ;\n`);
    await untilSaid("armed 1\n");
    for (let order = 1; order <= ORDERS; order++) {
      writeSync(orders, `extend ${TOKEN} ${later + order} ;\n`);
      // Random, so that every moment of the guard's wait is hit.
      if (order % 3 !== 0) await Bun.sleep(Math.random() * 4);
    }
    await untilSaid(`extended ${later + ORDERS}\n`);
    writeSync(orders, `disarm ${TOKEN} 2 ;\n`);
    await untilSaid("disarmed 2\n");
    expect(said.match(/^extended \d+$/gm)).toHaveLength(ORDERS);
    expect(said).not.toContain("refused");
  },
  2 * PATIENCE_MS,
);
