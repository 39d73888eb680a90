// Owns the rows that are measured on each system in the same way: what is done to three servers, and from when to when it counts.

import { manyWriters, oneByOne, type Reading, spread, WRITERS } from "./raft-load.ts";
import { type Client, found, type RaftSystem, type Server } from "./raft-system.ts";
import { cpuOf, memoryOf } from "./rest.ts";

export interface RaftRun {
  readonly system: RaftSystem;
  /** How often something is done to a server. */
  readonly rounds: number;
  /** Of the many writers. */
  readonly writes: number;
  /** On the disk that is measured. */
  readonly folder: string;
}

export interface RaftRow {
  readonly id: string;
  readonly title: string;
  /** What the built-in Raft is to reach. */
  readonly reach: string;
  readonly measure: (run: RaftRun) => Promise<Reading>;
}

const TTL_MS = 10_000;
const TTL_SESSIONS = 5;
/** The leader is killed so long after the sessions began. */
const TTL_KILL_AFTER_MS = 5000;
const TTL_LOOK_MS = 10;
const SETTLE_MS = 5000;
const REST_MS = 30_000;

export const RAFT_ROWS: readonly RaftRow[] = [
  {
    id: "sequential-leader",
    title: "sequential commit at the leader, p50",
    reach: "≤ 1.5 ms",
    measure: (run) => sequential(run, "leader"),
  },
  { id: "sequential-follower", title: "sequential commit at a follower, p50", reach: "–", measure: (run) => sequential(run, "follower") },
  {
    id: "writers-leader",
    title: `${WRITERS} writers at the leader`,
    reach: "≥ 20,000/s, p99 ≤ 5 ms",
    measure: (run) => many(run, "leader"),
  },
  { id: "writers-follower", title: `${WRITERS} writers at a follower`, reach: "–", measure: (run) => many(run, "follower") },
  { id: "killed", title: "leader's process killed → writable", reach: "≤ 300 ms", measure: (run) => outages(run, "SIGKILL") },
  { id: "silent", title: "leader silent → writable", reach: "≤ 1000 ms, p99 ≤ 2000", measure: (run) => outages(run, "SIGSTOP") },
  { id: "stopped", title: "leader stopped cleanly → writable", reach: "≤ 50 ms", measure: (run) => outages(run, "SIGTERM") },
  { id: "restart", title: "a member started again → it serves", reach: "≤ 500 ms", measure: restarts },
  { id: "ttl", title: "a TTL of 10 s ends after", reach: "10–10.5 s", measure: (run) => lifetimes(run, "nothing") },
  { id: "ttl-killed", title: "the same, leader killed after 5 s", reach: "≤ 10.5 s + election", measure: (run) => lifetimes(run, "kill") },
  { id: "rest-cpu", title: "at rest: processor, the busiest server", reach: "≤ 1 %", measure: restCpu },
  { id: "rest-memory", title: "memory of a server (PSS), the largest", reach: "–", measure: restMemory },
];

async function sequential(run: RaftRun, at: "leader" | "follower"): Promise<Reading> {
  return withClient(run.system, [await serverAt(run.system, at)], oneByOne);
}

async function many(run: RaftRun, at: "leader" | "follower"): Promise<Reading> {
  return withClient(run.system, [await serverAt(run.system, at)], (client) => manyWriters(client, run));
}

/** From the moment of the blow until a write through the survivors is confirmed, by a client that is connected to one of them. */
async function outages({ system, rounds }: RaftRun, signal: "SIGKILL" | "SIGSTOP" | "SIGTERM"): Promise<Reading> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const leader = await system.leader();
    times.push(
      await withClient(system, others(system, leader), async (client) => {
        await client.put("bench/before", `${round}`);
        const from = performance.now();
        leader.signal(signal);
        await client.put("bench/after", `${round}`);
        return performance.now() - from;
      }),
    );
    await leader.end();
    await leader.start();
  }
  await system.leader();
  return spread(times);
}

/** A follower is killed; from its start until it confirms a write by itself. */
async function restarts({ system, rounds }: RaftRun): Promise<Reading> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const server = others(system, await system.leader())[0] as Server;
    await server.end();
    const from = performance.now();
    await server.start();
    await withClient(system, [server], (client) => client.put("bench/restart", `${round}`));
    times.push(performance.now() - from);
  }
  return spread(times);
}

/** From the moment that a session was asked for until its key is gone. */
async function lifetimes({ system }: RaftRun, what: "nothing" | "kill"): Promise<Reading> {
  const leader = await system.leader();
  const asked = what === "kill" ? others(system, leader) : system.servers;
  const times = withClient(system, asked, (client) =>
    Promise.all(Array.from({ length: TTL_SESSIONS }, (_, each) => lifetime(client, what, each))),
  );
  if (what === "kill") {
    await Bun.sleep(TTL_KILL_AFTER_MS);
    await leader.end();
  }
  const seconds = await times;
  if (what === "kill") await leader.start();
  return spread(seconds, "s");
}

/** In seconds. */
async function lifetime(client: Client, run: string, each: number): Promise<number> {
  const key = `bench/ttl-${run}-${each}`;
  const from = performance.now();
  await client.putForAWhile(key, TTL_MS);
  await found(`${key} ends`, async () => {
    if (!(await client.has(key))) return true;
    await Bun.sleep(TTL_LOOK_MS);
    return undefined;
  });
  return (performance.now() - from) / 1000;
}

/** Nobody writes. */
async function restCpu({ system }: RaftRun): Promise<Reading> {
  await system.leader();
  await Bun.sleep(SETTLE_MS);
  const percent = await cpuOf(
    system.servers.map((server) => () => [server.pid]),
    REST_MS,
  );
  return {
    text: `**${Math.max(...percent).toFixed(2)}** % (all three: ${percent.map((each) => each.toFixed(2)).join(", ")})`,
    samples: percent,
  };
}

async function restMemory({ system }: RaftRun): Promise<Reading> {
  await system.leader();
  const memory = system.servers.map(({ pid }) => memoryOf([pid]).pss);
  return { text: `**${Math.max(...memory).toFixed(0)}** MiB`, samples: memory };
}

async function serverAt(system: RaftSystem, at: "leader" | "follower"): Promise<Server> {
  const leader = await system.leader();
  return at === "leader" ? leader : (others(system, leader)[0] as Server);
}

function others(system: RaftSystem, leader: Server): readonly Server[] {
  return system.servers.filter((server) => server !== leader);
}

async function withClient<T>(system: RaftSystem, servers: readonly Server[], work: (client: Client) => Promise<T>): Promise<T> {
  const client = system.client(servers);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}
