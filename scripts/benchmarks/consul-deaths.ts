// Owns the command `bun run scripts/benchmarks/consul-deaths.ts [--rounds N]`: which deaths and disturbances end a lock in Consul, and in
// which time, for each choice of checks bound to its session (docs/consul.md). Real agents on hosts of their own, so it needs root.

import { type ChildProcess, spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { Consul } from "../../test/harness/consul.ts";
import { HostNetwork, whyNoNamespaces } from "../../test/harness/namespaces.ts";
import { until } from "../../test/harness/wait.ts";
import { CHOICES, TTL } from "./consul-holder.ts";
import { median, short } from "./table.ts";

interface Place {
  readonly name: string;
  readonly agent: Consul;
  readonly holder: ChildProcess;
  readonly cut: () => void;
}

/** What happens to a host, and how long it is then looked at: past the end of every session that is not renewed. */
interface Case {
  readonly name: string;
  readonly title: string;
  readonly act: (place: Place) => Promise<void>;
}

const LOOK_MS = TTL + 8_000;
const POLL_MS = 50;
const START_ATTEMPTS = 5;
const ELECTION = "Consul elects another leader (raft_multiplier 5)";

const freeze = (length: number): Case => ({
  name: `freeze${length}`,
  title: `agent frozen for ${length} s`,
  act: async ({ agent }) => {
    agent.sigstop();
    await Bun.sleep(length * 1000);
    agent.sigcont();
  },
});

const CASES: readonly Case[] = [
  { name: "killed", title: "supervisor dead", act: async ({ holder }) => void holder.kill("SIGKILL") },
  { name: "hung", title: "supervisor hung", act: async ({ holder }) => void holder.kill("SIGSTOP") },
  { name: "agent", title: "agent dead", act: ({ agent }) => agent.kill() },
  {
    name: "host",
    title: "host dead",
    act: async ({ agent, holder, cut }) => {
      cut();
      holder.kill("SIGKILL");
      await agent.kill();
    },
  },
  {
    name: "restart",
    title: "agent killed and started again",
    act: async ({ agent }) => {
      await agent.kill();
      await agent.restart();
    },
  },
  {
    name: "clean",
    title: "agent stopped cleanly and started again",
    act: async ({ agent }) => {
      await agent.terminate();
      await agent.restart();
    },
  },
  ...[2, 5, 10].map(freeze),
];

type Seen = { lost: number | null; stopped: boolean };
/** title → choice → what was seen in each round. */
type Results = Map<string, Map<string, Seen[]>>;

/** Watches the locks of one place for the time, from `act` on. */
async function watch(server: Consul, place: Place, act: () => Promise<void>): Promise<Map<string, Seen>> {
  const seen = new Map(CHOICES.map(({ scope }): [string, Seen] => [scope, { lost: null, stopped: false }]));
  const listen = (data: Buffer): void => {
    for (const line of data.toString().trim().split("\n")) {
      const { choice, event } = JSON.parse(line) as { choice: string; event: string };
      const entry = seen.get(choice);
      if (event === "stops" && entry !== undefined) entry.stopped = true;
    }
  };
  place.holder.stdout?.on("data", listen);
  const sessions = await locks(server, place);
  const begun = performance.now();
  const acting = act();
  while (performance.now() - begun < LOOK_MS) {
    await Bun.sleep(POLL_MS);
    // Servers that hold an election answer nothing: the next look tells.
    const now = await locks(server, place).catch(() => null);
    if (now === null) continue;
    for (const { scope } of CHOICES) {
      const entry = seen.get(scope);
      if (entry !== undefined && entry.lost === null && now.get(scope) !== sessions.get(scope)) entry.lost = performance.now() - begun;
    }
  }
  await acting;
  place.holder.stdout?.off("data", listen);
  return seen;
}

/** The session of each lock of this place. */
async function locks(server: Consul, { name }: Pick<Place, "name">): Promise<Map<string, string>> {
  const answer = await fetch(`${server.url}/v1/kv/deaths/${name}-?recurse`, { signal: AbortSignal.timeout(5_000) });
  // A server without a leader does not know; one that knows of none says 404.
  if (!answer.ok && answer.status !== 404) throw new Error(`HTTP status ${answer.status}`);
  const entries = answer.ok ? ((await answer.json()) as readonly { Key: string; Session?: string }[]) : [];
  const leaders = entries.filter(({ Key }) => Key.endsWith("/leader"));
  return new Map(leaders.map(({ Key, Session }) => [Key.slice(`deaths/${name}-`.length, -"/leader".length), Session ?? ""]));
}

function startHolder(url: string, name: string, prefix: readonly string[]): ChildProcess {
  const command = [...prefix, process.execPath, "run", `${import.meta.dir}/consul-holder.ts`, url, name];
  return spawn(command[0] as string, command.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
}

async function untilHeld(server: Consul, place: Pick<Place, "name">): Promise<void> {
  const held = async () => (await locks(server, place)).size === CHOICES.length;
  await until(`${place.name} holds its locks`, held, { withinMs: 120_000, everyMs: 200 });
}

function note(results: Results, title: string, seen: ReadonlyMap<string, Seen>): void {
  const row = results.get(title) ?? new Map<string, Seen[]>();
  results.set(title, row);
  for (const [choice, entry] of seen) row.set(choice, [...(row.get(choice) ?? []), entry]);
  console.error(`${title}: ${JSON.stringify(Object.fromEntries(seen))}`);
}

/** All cases at once, each on a host of its own with its own agent. */
async function roundOfHosts(results: Results): Promise<void> {
  const network = HostNetwork.create(CASES.length + 1);
  const places: Place[] = [];
  const server = await Consul.start({ host: network.host(CASES.length), sessionTtlMin: "10s" });
  try {
    for (const [index, { name }] of CASES.entries()) {
      const host = network.host(index);
      const agent = await Consul.start({ host, joins: server, sessionTtlMin: "10s", nodeName: name });
      const holder = startHolder(`http://${host.address}:${agent.httpPort}`, name, host.enter);
      places.push({ name, agent, holder, cut: () => network.cut(index) });
    }
    await Promise.all(places.map((place) => untilHeld(server, place)));
    const watched = CASES.map(async ({ title, act }, index) => {
      const place = places[index] as Place;
      note(results, title, await watch(server, place, () => act(place)));
    });
    await Promise.all(watched);
  } finally {
    for (const { holder } of places) holder.kill("SIGKILL");
    await Promise.all([...places.map(({ agent }) => agent.stop()), server.stop()]);
    network.close();
  }
}

/** Three servers at the default timing; the one that leads is killed. */
async function roundOfElection(results: Results): Promise<void> {
  const servers = await startServers();
  const agent = await Consul.start({ joins: servers[0] as Consul, sessionTtlMin: "10s", nodeName: "agent" });
  const holder = startHolder(agent.url, "election", []);
  const place: Place = { name: "election", agent, holder, cut: () => {} };
  try {
    await untilHeld(agent, place);
    const leader = await until("one of the servers leads", () => leading(servers), { withinMs: 60_000, everyMs: 200 });
    note(results, ELECTION, await watch(agent, place, () => leader.kill()));
  } finally {
    holder.kill("SIGKILL");
    await Promise.all([agent, ...servers].map((consul) => consul.stop()));
  }
}

/** Their first election at the default timing may take longer than an agent of the tests is waited for. */
async function startServers(): Promise<readonly Consul[]> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await Consul.startServers(3, { sessionTtlMin: "10s", config: { performance: { raft_multiplier: 5 } } });
    } catch (error) {
      if (attempt === START_ATTEMPTS) throw error;
      console.error(`three servers did not start: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`);
    }
  }
}

async function leading(servers: readonly Consul[]): Promise<Consul | null> {
  for (const server of servers) {
    const self = (await (await fetch(`${server.url}/v1/agent/self`)).json()) as { Stats: { consul: { leader: string } } };
    if (self.Stats.consul.leader === "true") return server;
  }
  return null;
}

function cell(seen: readonly Seen[] | undefined): string {
  const all = seen ?? [];
  const lost = all.flatMap((entry) => (entry.lost === null ? [] : [entry.lost / 1000]));
  const times =
    lost.length === 0
      ? "kept"
      : `${short(median(lost))} s${range(lost)}${lost.length < all.length ? ` in ${lost.length} of ${all.length}` : ""}`;
  const stops = all.filter(({ stopped }) => stopped).length;
  return stops === 0 ? times : `${times}; steps down in ${stops} of ${all.length}`;
}

function range(samples: readonly number[]): string {
  return samples.length === 1 ? "" : ` (${short(Math.min(...samples))}–${short(Math.max(...samples))})`;
}

function print(results: Results, rounds: number): void {
  console.log(
    `ttl ${TTL / 1000} s; session_check_ttl ${(CHOICES[2].checkTtl ?? 0) / 1000} s; ${rounds} rounds; the time is that until the lock is free\n`,
  );
  console.log("| what happens | no check | `checks: [serfHealth]` | `session_check_ttl` | both |\n|---|---|---|---|---|");
  for (const [title, row] of results) console.log(`| ${title} | ${CHOICES.map(({ scope }) => cell(row.get(scope))).join(" | ")} |`);
}

const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" } } });
const why = whyNoNamespaces();
if (why !== null) {
  console.error(why);
  process.exit(2);
}

const results: Results = new Map([...CASES.map(({ title }) => title), ELECTION].map((title) => [title, new Map()]));
for (let round = 0; round < Number(values.rounds); round++) {
  for (const part of [roundOfHosts, roundOfElection]) {
    // What was seen until then is worth printing.
    await part(results).catch((error: unknown) => {
      console.error(`round ${round + 1}: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
    });
  }
}
print(results, Number(values.rounds));
