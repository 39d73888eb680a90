// Goal: the exit of any process is seen at once, also of one that is not our child, and the watch can be moved and ended.
// Method: real processes; `setsid --fork` makes one that is nobody's child here.

import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { ExitWatch } from "../../../lib/postgres/exit-watch.ts";
import { readProcess } from "../../../lib/postgres/processes.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { ownMs } from "../../harness/stall.ts";

function watched(pid: number) {
  const facts = readProcess(pid);
  if (facts === null) throw new Error(`no process ${pid}`);
  return facts;
}

async function orphan(): Promise<number> {
  const shell = spawn("setsid", ["--fork", "sh", "-c", "echo $$; exec sleep 30"], { stdio: ["ignore", "pipe", "ignore"] });
  const pid = Number(await new Promise((resolve) => shell.stdout.once("data", (data: Buffer) => resolve(data.toString().trim()))));
  shell.stdout.destroy();
  return pid;
}

test("the exit of a process that is not our child is reported once, and before PID 1 would have reaped it", async () => {
  const pid = await orphan();
  const exits: number[] = [];
  const seen = Promise.withResolvers<number>();
  const watch = new ExitWatch({
    log: recordingLog(),
    onExit: (process) => {
      exits.push(process.pid);
      seen.resolve(performance.now());
    },
  });
  watch.watch(watched(pid));
  watch.watch(watched(pid));
  await Bun.sleep(100);
  expect(exits).toEqual([]);
  const killed = performance.now();
  process.kill(pid, "SIGKILL");
  // Reaping can take PID 1 more than a second; how fast the watch is, the benchmarks measure.
  expect(ownMs(killed, await seen.promise)).toBeLessThan(1_000);
  await Bun.sleep(20);
  expect(exits).toEqual([pid]);
  await watch.close();
});

test("a process that is gone before the watch begins is reported too", async () => {
  const pid = await orphan();
  const target = watched(pid);
  process.kill(pid, "SIGKILL");
  while (readProcess(pid) !== null) await Bun.sleep(1);
  const seen = Promise.withResolvers<number>();
  const watch = new ExitWatch({ log: recordingLog(), onExit: (process) => seen.resolve(process.pid) });
  watch.watch(target);
  expect(await seen.promise).toBe(pid);
  await watch.close();
});

test("a watch that was moved on reports the new process only, whatever the order of exits", async () => {
  const [first, second] = [await orphan(), await orphan()];
  const exits: number[] = [];
  const seen = Promise.withResolvers<null>();
  const watch = new ExitWatch({
    log: recordingLog(),
    onExit: (process) => {
      exits.push(process.pid);
      seen.resolve(null);
    },
  });
  watch.watch(watched(first));
  watch.watch(watched(second));
  watch.watch(watched(first));
  watch.watch(watched(second));
  process.kill(first, "SIGKILL");
  await Bun.sleep(50);
  process.kill(second, "SIGKILL");
  await seen.promise;
  expect(exits).toEqual([second]);
  await watch.close();
});

test("closing ends the thread at any moment and reports nothing afterwards", async () => {
  const pid = await orphan();
  const exits: number[] = [];
  for (const pause of [0, 50]) {
    const watch = new ExitWatch({ log: recordingLog(), onExit: (process) => exits.push(process.pid) });
    watch.watch(watched(pid));
    await Bun.sleep(pause);
    await watch.close();
  }
  await new ExitWatch({ log: recordingLog(), onExit: () => undefined }).close();
  process.kill(pid, "SIGKILL");
  await Bun.sleep(50);
  expect(exits).toEqual([]);
});
