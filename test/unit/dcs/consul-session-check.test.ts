// Goal: a session with a check of its own carries a lease only while the agent has certainly not called the check critical: what was
// passed too late, or is gone from the agent, ends the session instead. Method: the real store over an agent of this test on
// loopback that answers as Consul 1.8.7 was seen to, with a clock that the test moves.

import { afterEach, expect, test } from "bun:test";
import { ConsulStore } from "../../../lib/dcs/consul/store.ts";
import { ms, seconds } from "../../../lib/model/units.ts";
import { consulConfig } from "../../harness/consul-config.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { ManualClock } from "./manual-clock.ts";

const CHECK = { ttl: seconds(3), owner: "service/demo/members/a", service: "demo-supervisor" };
const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

interface Body {
  readonly ID?: string;
  readonly Name?: string;
  readonly TTL?: string;
  readonly NodeChecks?: readonly string[];
  readonly ServiceChecks?: readonly { readonly ID: string }[];
  readonly Check?: { readonly TTL: string; readonly Status: string };
}

/** An agent with its server. */
class Agent {
  readonly checks = new Map<string, Body>();
  readonly sessions = new Map<string, Body>();
  /** Each request, without ids. */
  readonly asked: string[] = [];
  /** Called before a pass is answered. */
  onPass: () => Promise<void> = async () => {};
  /** So many passes come to another agent, which has no such check. */
  elsewhere = 0;
  /** The servers know no check that the agent has: it could not reach them, and tries again later. */
  cutOff = false;
  #count = 0;

  async answer(request: Request): Promise<Response> {
    const path = decodeURIComponent(new URL(request.url).pathname);
    const [, , area = "", what = "", word = "", ...rest] = path.split("/");
    const body = (request.method === "PUT" ? JSON.parse((await request.text()) || "{}") : {}) as Body;
    this.asked.push(`${request.method} ${area}/${what}${area === "agent" ? `/${word}` : ""}`);
    const last = rest.join("/");
    if (area === "agent") return await this.#agent(`${what}/${word}`, last, body);
    if (what === "create") return this.#create(body);
    const session = this.sessions.get(word);
    if (session === undefined) return new Response(`Session id '${word}' not found`, { status: 404 });
    if (what === "destroy") return this.sessions.delete(word) ? Response.json(true) : Response.json(false);
    return Response.json([{ ...session, ID: word, Node: "host" }]);
  }

  async #agent(what: string, id: string, body: Body): Promise<Response> {
    if (what === "service/register") this.checks.set(body.ID ?? "", body);
    else if (what === "service/deregister") this.checks.delete(id);
    else if (what === "check/update") {
      await this.onPass();
      if (!this.checks.has(id) || this.elsewhere-- > 0)
        return new Response(`CheckID "${id}" does not have associated TTL`, { status: 500 });
    } else return new Response("", { status: 404 });
    return new Response("");
  }

  #create(body: Body): Response {
    const [check] = body.ServiceChecks ?? [];
    if (this.cutOff && check !== undefined)
      return new Response(`rpc error making call: Missing check '${check.ID}' registration`, { status: 500 });
    this.#count++;
    const id = `s${this.#count}`;
    this.sessions.set(id, body);
    return Response.json({ ID: id });
  }
}

function open() {
  const clock = new ManualClock();
  const agent = new Agent();
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: (request) => agent.answer(request) });
  const log = recordingLog();
  const store = () => {
    const opened = new ConsulStore({ config: consulConfig(`http://127.0.0.1:${server.port}`), clock, log });
    cleanups.push(() => opened.close());
    return opened;
  };
  cleanups.push(() => server.stop(true));
  const within = () => ({ deadline: ms(clock.now() + 60_000) });
  return { clock, agent, log, store, within };
}

function unwrap<T>(result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown }): T {
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value;
}

test("a session is bound to a check of its own alone, promises no more than that, and each renewal passes it", async () => {
  const { agent, clock, store, within } = open();
  const ours = store();
  const session = unwrap(await ours.openSession({ ...within(), name: "demo-a", ttl: seconds(20), check: CHECK }));
  expect(session).toMatchObject({ promisedMs: 3_000, checkTtl: 3_000 });
  const [[id, service] = []] = [...agent.checks];
  expect(service).toMatchObject({ Name: "demo-supervisor", Check: { TTL: "3s", Status: "passing" } });
  expect(agent.sessions.get(session.id)).toMatchObject({ TTL: "10s", Checks: [], ServiceChecks: [{ ID: id }] });
  for (let round = 0; round < 5; round++) {
    await clock.advance(2_500);
    expect(unwrap(await ours.renewSession(session.id, within()))).toMatchObject({ id: session.id, promisedMs: 3_000, checkTtl: 3_000 });
  }
  expect(agent.asked.filter((request) => request === "PUT agent/check/update")).toHaveLength(5);
  unwrap(await ours.closeSession(session.id, within()));
  while (agent.checks.size > 0) await Bun.sleep(1);
});

test("a session without a check is asked for, and renewed, as ever", async () => {
  const { agent, store, within } = open();
  const ours = store();
  const session = unwrap(await ours.openSession({ ...within(), name: "demo-a", ttl: seconds(20) }));
  expect(unwrap(await ours.renewSession(session.id, within()))).toEqual({ id: session.id, promisedMs: ms(20_000), place: "host" });
  expect(agent.asked).toEqual(["PUT session/create", "PUT session/renew"]);
});

test("a pass that was answered when the check may have turned critical ends the session: no lease is counted on it", async () => {
  const { agent, clock, log, store, within } = open();
  const ours = store();
  const session = unwrap(await ours.openSession({ ...within(), name: "demo-a", ttl: seconds(20), check: CHECK }));
  await clock.advance(2_000);
  // The agent was frozen, and answers both requests once it goes on: its timer may have had its turn before.
  agent.onPass = () => clock.advance(1_000);
  expect(await ours.renewSession(session.id, within())).toEqual({ ok: false, error: { kind: "session-gone", session: session.id } });
  expect(agent.sessions.size).toBe(0);
  expect(log.lines.some((line) => line.includes("was not passed in time"))).toBe(true);
});

test("a check that the agent has lost ends the session; the next one has another check", async () => {
  const { agent, store, within } = open();
  const ours = store();
  const options = { name: "demo-a", ttl: seconds(20), check: CHECK };
  const session = unwrap(await ours.openSession({ ...within(), ...options }));
  const [before] = agent.checks.keys();
  agent.checks.clear();
  expect(await ours.renewSession(session.id, within())).toMatchObject({ ok: false, error: { kind: "session-gone" } });
  expect(agent.sessions.size).toBe(0);
  const next = unwrap(await ours.openSession({ ...within(), ...options }));
  expect([...agent.checks.keys()]).not.toContain(before as string);
  expect(unwrap(await ours.renewSession(next.id, within())).checkTtl).toBe(seconds(3));
});

test("a pass that comes to another agent is tried again, and told of: behind a balancer the check is at one of them", async () => {
  const { agent, clock, log, store, within } = open();
  const ours = store();
  const session = unwrap(await ours.openSession({ ...within(), name: "demo-a", ttl: seconds(20), check: CHECK }));
  const told = () => log.lines.filter((line) => line.includes("leads to several agents"));
  expect([unwrap(await ours.renewSession(session.id, within())).checkTtl, told()]).toEqual([CHECK.ttl, []]);
  for (const elsewhere of [1, 2]) {
    await clock.advance(2_500);
    agent.elsewhere = elsewhere;
    expect(unwrap(await ours.renewSession(session.id, within())).checkTtl).toBe(CHECK.ttl);
  }
  expect(told()).toHaveLength(1);
  // None of them has it.
  agent.elsewhere = Number.POSITIVE_INFINITY;
  expect(await ours.renewSession(session.id, within())).toMatchObject({ ok: false, error: { kind: "session-gone" } });
  expect(agent.sessions.size).toBe(0);
});

test("a pass at another agent is not tried again once the check may have turned critical", async () => {
  const { agent, clock, store, within } = open();
  const ours = store();
  const session = unwrap(await ours.openSession({ ...within(), name: "demo-a", ttl: seconds(20), check: CHECK }));
  agent.elsewhere = 1;
  agent.onPass = () => clock.advance(3_000);
  expect(await ours.renewSession(session.id, within())).toMatchObject({ ok: false, error: { kind: "session-gone" } });
  expect(agent.asked.filter((request) => request === "PUT agent/check/update")).toHaveLength(1);
});

test("a former process's session goes on while its check certainly holds, and is closed where it may not", async () => {
  for (const [checkedUntil, goesOn] of [
    [1_000, true],
    [999, false],
    [null, false],
  ] as const) {
    const { agent, clock, store, within } = open();
    const session = unwrap(await store().openSession({ ...within(), name: "demo-a", ttl: seconds(20), check: CHECK }));
    await clock.advance(999);
    const until = checkedUntil === null ? null : ms(checkedUntil);
    const renewed = await store().renewSession(session.id, { ...within(), checkedUntil: until });
    expect(renewed.ok ? renewed.value.promisedMs : renewed.error.kind).toEqual(goesOn ? seconds(3) : "session-gone");
    expect(agent.sessions.has(session.id)).toBe(goesOn);
  }
});

test("where the servers do not know the check in half of the time, the session is opened without it, and the check is removed", async () => {
  const { agent, clock, log, store, within } = open();
  const ours = store();
  agent.cutOff = true;
  // The pause before each other try is all the time that passes.
  const waitFor = clock.sleepUntil.bind(clock);
  clock.sleepUntil = (at, signal) => (signal === undefined ? clock.advance(at - clock.now()) : waitFor(at, signal));
  const asked = (deadline: number, unchecked: "allowed" | "refused") =>
    ours.openSession({ deadline: ms(clock.now() + deadline), name: "demo-a", ttl: seconds(20), check: CHECK, unchecked });
  const session = unwrap(await asked(5_000, "allowed"));
  expect(session.promisedMs).toBe(ms(20_000));
  expect(session.checkTtl).toBeUndefined();
  expect(clock.now()).toBe(ms(2_450));
  expect(agent.sessions.get(session.id)).toEqual({ Name: "demo-a", Behavior: "delete", LockDelay: "1ms", TTL: "10s", Checks: [] } as Body);
  expect(log.lines.some((line) => line.includes("opened without it"))).toBe(true);
  expect(unwrap(await ours.renewSession(session.id, within())).promisedMs).toBe(ms(20_000));
  while (agent.checks.size > 0) await Bun.sleep(1);
  // Beside a session that is there already nothing is waited for: another one without its check is of no use.
  const before = clock.now();
  const refused = await asked(5_000, "refused");
  expect(refused.ok).toBe(false);
  expect(clock.now() - before).toBe(450);
  expect(agent.sessions.size).toBe(1);
  while (agent.checks.size > 0) await Bun.sleep(1);
  // In words that stay the same, for they are told once.
  expect(await asked(5_000, "refused")).toEqual(refused);
  agent.cutOff = false;
  expect(unwrap(await asked(5_000, "refused"))).toMatchObject({ checkTtl: CHECK.ttl });
});
