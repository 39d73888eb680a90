// Goal: callbacks never stand in the loop's way and replace each other as documented; hooks are waited for and their failure seen.
// Method: real shell scripts that write what they were told into files.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ms } from "../../../lib/model/units.ts";
import { CallbackLanes } from "../../../lib/postgres/callbacks.ts";
import type { PostgresContext } from "../../../lib/postgres/context.ts";
import { runHook } from "../../../lib/postgres/hooks.ts";
import { endLeftoverMakers, makingEnvironment } from "../../../lib/postgres/making-processes.ts";
import { programRunner } from "../../../lib/postgres/programs.ts";
import { clock, serverConfig } from "../../harness/local-server.ts";
import { recordingLog } from "../../harness/recording-log.ts";

const folder = mkdtempSync(join(tmpdir(), "matriarch-commands-"));
const out = join(folder, "out");
const log = recordingLog();

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function script(name: string, body: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

function contextWith(changes: Partial<PostgresContext["config"]>): PostgresContext {
  const config = { ...serverConfig(folder, "a", 1), ...changes };
  return { config, scope: "herd", memberName: "a", log, clock, run: programRunner(config, clock) };
}

async function lines(count: number): Promise<readonly string[]> {
  const giveUpAt = clock.now() + 60_000;
  for (;;) {
    // The shell makes the file before it writes into it.
    const written = (await Bun.file(out).exists()) ? readFileSync(out, "utf8") : "";
    const found = written.split("\n").filter((line) => line !== "");
    if (found.length >= count || clock.now() > giveUpAt) return found;
    await Bun.sleep(5);
  }
}

test("a callback gets action, role and scope; another action ends the running one, reload runs beside it", async () => {
  const slow = script("slow", `trap 'echo "ended $*" >> ${out}; exit 0' TERM; echo "begin $*" >> ${out}; while :; do sleep 0.02; done`);
  const quick = script("quick", `echo "quick $*" >> ${out}`);
  const context = contextWith({ callbacks: { on_start: `${slow} first`, on_role_change: quick, on_reload: quick } });
  const lanes = new CallbackLanes();
  lanes.call(context, "on_start", "replica");
  expect(await lines(1)).toEqual(["begin first on_start replica herd"]);
  lanes.call(context, "on_reload", "replica");
  expect((await lines(2)).at(1)).toBe("quick on_reload replica herd");
  lanes.call(context, "on_stop", "replica");
  lanes.call(context, "on_role_change", "primary");
  expect((await lines(4)).slice(2)).toEqual(["ended first on_start replica herd", "quick on_role_change primary herd"]);
  await lanes.close();
});

test("at the end of the supervisor on_stop is not cut off, nor the one that waits for its turn; what takes too long is", async () => {
  const told = join(folder, "told");
  const stopping = script("stopping", `sleep 0.3; echo "$1" >> ${told}`);
  const hanging = script("hanging", "sleep 60");
  const lanes = new CallbackLanes();
  const context = contextWith({ callbacks: { on_role_change: `${stopping} changed`, on_stop: `${stopping} stopped`, on_reload: hanging } });
  // What another action ends is not waited for.
  lanes.call(context, "on_role_change", "primary");
  lanes.call(context, "on_stop", "primary");
  await lanes.close(60_000);
  expect(readFileSync(told, "utf8")).toBe("stopped\n");
  lanes.call(context, "on_reload", "primary");
  await lanes.close(1);
  expect(log.lines.at(-1)).toBe("INFO: callback on_reload primary: HANGING was ended".replace("HANGING", hanging));
});

test("a hook's success is its exit status, and a deadline or a signal ends it", async () => {
  const soon = () => ({ deadline: ms(clock.now() + 5_000) });
  expect(await runHook(contextWith({}), "pre_promote", soon())).toEqual({ ok: true, value: null });
  expect((await runHook(contextWith({ prePromote: script("good", "exit 0") }), "pre_promote", soon())).ok).toBe(true);
  const bad = await runHook(contextWith({ beforeStop: script("bad", "echo no >&2; exit 7") }), "before_stop", soon());
  expect(bad).toEqual({ ok: false, error: { kind: "failed", message: "postgresql.before_stop ended with exit status 7: no" } });
  const late = await runHook(contextWith({ prePromote: script("late", "sleep 20") }), "pre_promote", { deadline: ms(clock.now() + 50) });
  expect(late.ok || late.error.kind).toBe("timeout");
  const ended = await runHook(contextWith({ beforeStop: script("long", "sleep 20") }), "before_stop", {
    ...soon(),
    signal: AbortSignal.abort(),
  });
  expect(ended.ok || ended.error.kind).toBe("cancelled");
});

test("programs that an earlier supervisor left at work on a directory are ended, with their children, and no others", async () => {
  const mine = Bun.spawn(["sh", "-c", "sleep 30 & echo; wait"], {
    env: { ...process.env, ...makingEnvironment(join(folder, "data")) },
    stdout: "pipe",
  });
  const other = Bun.spawn(["sleep", "30"], { env: { ...process.env, ...makingEnvironment(join(folder, "data2")) } });
  // It has its environment only after exec, and its child by then.
  await mine.stdout.getReader().read();
  const ended = await endLeftoverMakers(join(folder, "data"));
  expect(ended).toContain(mine.pid);
  expect(ended).toHaveLength(2);
  expect(other.exitCode).toBeNull();
  other.kill();
  await other.exited;
});
