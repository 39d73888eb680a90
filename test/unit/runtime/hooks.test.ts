// Goal: each hook gets its events in order, each once where it takes them, again where it does not, and holds up nobody.
// Method: a clock moved by hand; real programs and a real server where their borders are what matters.

import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EVENT_KINDS, type NodeEvent } from "../../../lib/model/event.ts";
import type { HookConfig, PostgresqlConfig } from "../../../lib/model/node-config.ts";
import { ms, seconds } from "../../../lib/model/units.ts";
import { programRunner } from "../../../lib/postgres/programs.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { EventLog, type KeptEvent } from "../../../lib/runtime/event-log.ts";
import { HOOK_WAITING_MAX, type HookOutcome, type HookParts, Hooks } from "../../../lib/runtime/hooks.ts";
import { postEvent } from "../../../lib/runtime/webhook.ts";
import { LogUnderTest } from "../api/node-under-test.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

const folder = mkdtempSync(join(tmpdir(), "hooks-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const HOOK: HookConfig = {
  name: "pager",
  command: null,
  url: "http://hook.example/SECRET-PATH",
  headers: {},
  events: EVENT_KINDS,
  timeoutMs: seconds(10),
  retries: 2,
};

function open(hook: Partial<HookConfig>, parts: Partial<HookParts> = {}) {
  const clock = new ManualClock();
  const log = new LogUnderTest();
  const events = new EventLog({ scope: "demo", name: "node1", wallNow: () => 1_700_000_000_000 });
  const counted: string[] = [];
  const unused = () => Promise.reject(new Error("not to be asked"));
  const hooks = new Hooks(events, {
    clock,
    log,
    run: unused,
    post: unused,
    counted: (name: string, outcome: HookOutcome) => counted.push(`${name} ${outcome}`),
    ...parts,
  });
  hooks.configure([{ ...HOOK, ...hook }]);
  const happen = (text: string) => events.add({ kind: "pause", paused: true }, text, null);
  return { clock, log, events, counted, hooks, happen };
}

/** Takes what it is given as it is told to; `taken` has the sentences of what came, attempt by attempt. */
function taker(answers: (event: NodeEvent, attempt: number) => string | null) {
  const taken: string[] = [];
  const post = async (_hook: HookConfig, event: KeptEvent): Promise<string | null> => {
    const told = JSON.parse(event.json) as NodeEvent;
    taken.push(told.text);
    return answers(told, taken.filter((text) => text === told.text).length);
  };
  return { taken, post };
}

describe("a hook", () => {
  test("gets its events one after the other, and each again until it takes it", async () => {
    const { taken, post } = taker(({ text }, attempt) => (text === "one" && attempt < 3 ? "it answered 500" : null));
    const { clock, counted, happen, log } = open({}, { post });
    happen("one");
    happen("two");
    await clock.advance(0);
    expect(taken).toEqual(["one"]);
    await clock.advance(1000);
    expect(taken).toEqual(["one", "one"]);
    await clock.advance(2000);
    expect(taken).toEqual(["one", "one", "one", "two"]);
    expect(counted).toEqual(["pager delivered", "pager delivered"]);
    expect(log.lines.every((line) => !line.includes("SECRET-PATH"))).toBe(true);
  });

  test("that never takes an event is given up on that one, and gets the next", async () => {
    const { taken, post } = taker(({ text }) => (text === "bad" ? "it answered 400" : null));
    const { clock, counted, happen, log } = open({ retries: 1 }, { post });
    happen("bad");
    happen("good");
    await clock.advance(60_000);
    expect(taken).toEqual(["bad", "bad", "good"]);
    expect(counted).toEqual(["pager failed", "pager delivered"]);
    expect(log.lines.at(-1)).toMatch(/^ERROR hook pager: event \S+-1 \(pause\) is given up after 2 attempts: it answered 400$/);
  });

  test("whose delivery breaks altogether has failed on that event, and nobody else is concerned", async () => {
    const broken = open({ retries: 0 }, { post: () => Promise.reject(new TypeError("no such module")) });
    for (const text of ["one", "two"]) broken.happen(text);
    await broken.hooks.close(ms(broken.clock.now() + 1_000));
    expect(broken.counted).toEqual(["pager failed", "pager failed"]);
    expect(broken.log.lines.join("\n")).toContain("no such module");
  });

  test("gets the kinds that it wants, and no other", async () => {
    const { taken, post } = taker(() => null);
    const { clock, events, happen } = open({ events: ["leader"] }, { post });
    happen("a pause");
    events.add({ kind: "leader", leader: "node1", former: null }, "node1 leads", null);
    await clock.advance(0);
    expect(taken).toEqual(["node1 leads"]);
  });

  test("that hangs holds no more than so many events, the newest, and says once that some are dropped", async () => {
    let release = (): void => undefined;
    const hanging = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { taken, post } = taker(() => null);
    const slow = async (hook: HookConfig, event: KeptEvent) => {
      await hanging;
      return await post(hook, event);
    };
    const { clock, counted, happen, log } = open({}, { post: slow });
    for (let index = 0; index < HOOK_WAITING_MAX + 11; index += 1) happen(`event ${index}`);
    release();
    await clock.advance(0);
    expect(counted.filter((text) => text === "pager dropped").length).toBe(10);
    expect([taken.length, taken[0], taken[1], taken.at(-1)]).toEqual([
      HOOK_WAITING_MAX + 1,
      "event 0",
      "event 11",
      `event ${HOOK_WAITING_MAX + 10}`,
    ]);
    expect(log.lines.filter((line) => line.includes("dropped")).length).toBe(1);
  });

  test("keeps what waits over a reload that leaves it as it was, and is let go by one that takes it away", async () => {
    const { taken, post } = taker((_, attempt) => (attempt === 1 ? "it answered 503" : null));
    const { clock, happen, hooks, counted } = open({}, { post });
    happen("one");
    await clock.advance(0);
    hooks.configure([{ ...HOOK, name: "other" }, HOOK]);
    await clock.advance(1000);
    expect(taken).toEqual(["one", "one"]);
    happen("two");
    hooks.configure([]);
    await clock.advance(60_000);
    expect(taken.filter((text) => text === "two").length).toBeLessThanOrEqual(2);
    happen("three");
    expect(taken).not.toContain("three");
    expect(counted[0]).toBe("pager delivered");
  });

  test("gets what waits at the end of the supervisor, until its time is over", async () => {
    const { taken, post } = taker(({ text }) => (text === "never" ? "it answered 500" : null));
    const { clock, happen, hooks } = open({ retries: 100 }, { post });
    happen("last");
    happen("never");
    happen("lost");
    const closed = hooks.close(ms(clock.now() + 1500));
    await clock.advance(2000);
    await closed;
    expect([...new Set(taken)]).toEqual(["last", "never"]);
  });
});

describe("at its borders", () => {
  const run = programRunner({ binDir: "", binName: {} } as unknown as PostgresqlConfig, realClock());

  test("a program gets the event on its standard input, its exit status counts, and a hanging one is ended", async () => {
    const out = join(folder, "out");
    const program = join(folder, "hook");
    writeFileSync(program, `#!/bin/sh\n[ "$1" = hang ] && exec sleep 1000\ncat >> "${out}"\nexit $2\n`);
    chmodSync(program, 0o755);
    const clock = realClock();
    const good = open({ url: null, command: `${program} 'two words' 0` }, { run, clock });
    const event = good.happen("one");
    good.happen("two");
    await good.hooks.close(ms(clock.now() + 20_000));
    expect(readFileSync(out, "utf8").split("\n")[0]).toBe(event.json);
    expect(good.counted).toEqual(["pager delivered", "pager delivered"]);
    const bad = open({ url: null, command: `${program} x 3`, retries: 0 }, { run, clock });
    bad.happen("one");
    await bad.hooks.close(ms(clock.now() + 20_000));
    expect(bad.log.lines.join()).toContain("exit status 3");
    const hanging = open({ url: null, command: `${program} hang`, retries: 0, timeoutMs: ms(50) }, { run, clock });
    hanging.happen("one");
    await hanging.hooks.close(ms(clock.now() + 20_000));
    expect(hanging.counted).toEqual(["pager failed"]);
  });

  test("an address gets the event with its id for whoever drops what came twice; anything but success is no delivery", async () => {
    const seen: { id: string | null; team: string | null; body: NodeEvent }[] = [];
    const statuses = [500, 302, 204];
    const server = Bun.serve({
      port: 0,
      fetch: async (request) => {
        seen.push({
          id: request.headers.get("idempotency-key"),
          team: request.headers.get("x-team"),
          body: (await request.json()) as NodeEvent,
        });
        return new Response(null, { status: statuses.shift() ?? 200, headers: { location: "/elsewhere" } });
      },
    });
    const clock = new ManualClock();
    const { promise: delivered, resolve } = Promise.withResolvers<void>();
    const counted = (): void => resolve();
    const { happen } = open({ url: `http://127.0.0.1:${server.port}/`, headers: { "x-team": "dba" } }, { post: postEvent, clock, counted });
    const event = happen("one");
    for (let waiting = true; waiting; ) {
      await clock.advance(4000);
      waiting = await Promise.race([delivered.then(() => false), Bun.sleep(5).then(() => true)]);
    }
    expect(seen.map(({ id }) => id)).toEqual([event.id, event.id, event.id]);
    expect([seen[0]?.team, seen[0]?.body.text]).toEqual(["dba", "one"]);
    await server.stop(true);
  });

  test("what goes wrong is told without the address", async () => {
    const closed = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
    const { port } = closed;
    closed.stop(true);
    const event: KeptEvent = { id: "a-1", kind: "pause", text: "", json: "{}" };
    const hook = { ...HOOK, url: `http://127.0.0.1:${port}/SECRET` };
    const fault = await postEvent(hook, event, AbortSignal.timeout(10_000));
    expect(fault).toContain("cannot be reached");
    expect(fault).not.toContain("SECRET");
    const silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
    expect(await postEvent({ ...HOOK, url: `http://127.0.0.1:${silent.port}/` }, event, AbortSignal.timeout(30))).toBe("no answer in time");
    silent.stop(true);
  });
});
