// Owns a NodeService as a plain object: facts that a test sets, requests that it can look at. The border of lib/api, no more.

import type { BackupListing } from "../../../lib/model/backup.ts";
import type { Cluster } from "../../../lib/model/cluster.ts";
import { EMPTY_STATUS } from "../../../lib/model/cluster.ts";
import type { DynamicConfig } from "../../../lib/model/dynamic-config.ts";
import type { StoreError } from "../../../lib/model/errors.ts";
import type { FailsafeHeartbeat } from "../../../lib/model/failsafe.ts";
import type { Log } from "../../../lib/model/log.ts";
import type { Member } from "../../../lib/model/member.ts";
import type { NodeConfig, RestApiConfig } from "../../../lib/model/node-config.ts";
import type { PostgresStatus } from "../../../lib/model/postgres.ts";
import { err, ok, type Result } from "../../../lib/model/result.ts";
import { NO_SYNC } from "../../../lib/model/sync-state.ts";
import { lsn, ms, revision, timeline } from "../../../lib/model/units.ts";
import { EventLog } from "../../../lib/runtime/event-log.ts";
import type { Explanation } from "../../../lib/runtime/explaining.ts";
import type { NodeFacts, NodeMeasures, NodeService, RestartRequest } from "../../../lib/runtime/node-service.ts";
import { CONFIG } from "../core/observations.ts";

export function restApi(changes: Partial<RestApiConfig> = {}): RestApiConfig {
  return {
    listen: { host: "127.0.0.1", port: 0 },
    connectAddress: { host: "127.0.0.1", port: 8008 },
    authentication: null,
    tokens: [],
    protectedPaths: [],
    certfile: null,
    keyfile: null,
    keyfilePassword: null,
    cafile: null,
    ciphers: null,
    verifyClient: "none",
    allowlist: [],
    allowlistIncludeMembers: false,
    httpExtraHeaders: {},
    httpsExtraHeaders: {},
    serverTokens: "original",
    requestQueueSize: 5,
    ...changes,
  };
}

export const DYNAMIC: DynamicConfig = CONFIG;

export function member(name: string, changes: Partial<Member> = {}): Member {
  const port = Number(name.replace(/\D/g, "")) || 9;
  return {
    name,
    revision: revision(10),
    session: `session-${name}`,
    connUrl: `postgres://127.0.0.1:1900${port}/postgres`,
    apiUrl: `http://127.0.0.1:1901${port}/patroni`,
    state: "running",
    role: "replica",
    version: "4.1.5",
    xlogLocation: lsn(67108864),
    receiveLsn: lsn(67108864),
    replayLsn: lsn(67108864),
    replicationState: "streaming",
    timeline: timeline(1),
    tags: {},
    proxyUrl: null,
    pendingRestart: false,
    pendingRestartReason: null,
    checkpointAfterPromote: null,
    scheduledRestart: null,
    pause: false,
    product: { name: "Matriarch", version: "0.1.0" },
    extra: {},
    ...changes,
  };
}

export function leading(name: string, changes: Partial<Member> = {}): Member {
  return member(name, { role: "primary", receiveLsn: null, replayLsn: null, replicationState: null, ...changes });
}

export const CONFIG_IN_DCS = {
  loop_wait: 2,
  maximum_lag_on_failover: 1048576,
  postgresql: { parameters: { max_connections: 50 }, use_pg_rewind: true },
  retry_timeout: 3,
  ttl: 20,
};

/** Three members, node1 leads. */
export function cluster(changes: Partial<Cluster> = {}): Cluster {
  return {
    initialize: "7710744159307945845",
    leader: { name: "node1", session: "session-node1", revision: revision(11) },
    members: [leading("node1"), member("node2", { tags: { clonefrom: true } }), member("node3")],
    config: { revision: revision(7), data: CONFIG_IN_DCS },
    failover: null,
    restore: null,
    backup: null,
    backupClaim: null,
    upgrade: null,
    sync: NO_SYNC,
    history: [],
    status: { ...EMPTY_STATUS, optime: lsn(67108864) },
    failsafe: null,
    revision: revision(20),
    groups: {},
    faults: [],
    ...changes,
  };
}

export function postgres(changes: Partial<PostgresStatus> = {}): PostgresStatus {
  const connection = (name: string) => ({
    pid: 1,
    usename: "rep",
    applicationName: name,
    clientAddr: "127.0.0.1",
    state: "streaming",
    syncState: "async",
    syncPriority: 0,
    writeLsn: null,
    flushLsn: null,
    replayLsn: null,
  });
  return {
    askedAt: ms(0),
    backendPid: 100,
    postmasterStartTime: "2026-11-21 21:45:26.625329+00:00",
    postmasterStartEpochSeconds: 1795297526.625329,
    serverVersion: 150018,
    systemIdentifier: "7710744159307945845",
    inRecovery: false,
    walLsn: lsn(67108864),
    receivedLsn: null,
    replayedLsn: null,
    replayTimestamp: null,
    replayPaused: false,
    timeline: timeline(1),
    replicationState: null,
    walReceiver: null,
    replication: [connection("node2"), connection("node3")],
    slots: [],
    synchronousStandbyNames: "",
    primaryConninfo: "",
    primarySlotName: "",
    restoreCommand: "",
    ...changes,
  };
}

export function standby(changes: Partial<PostgresStatus> = {}): PostgresStatus {
  return postgres({
    postmasterStartTime: "2026-11-21 21:45:28.610349+00:00",
    inRecovery: true,
    walLsn: null,
    receivedLsn: lsn(67108864),
    replayedLsn: lsn(67108864),
    replicationState: "streaming",
    replication: [],
    ...changes,
  });
}

/** node1, primary, holding the lock. Only the parts of the node's configuration that the API reads are filled in. */
export function facts(changes: Partial<NodeFacts> = {}): NodeFacts {
  return {
    config: { scope: "demo", namespace: "service", name: "node1", restapi: restApi(), tags: {} } as unknown as NodeConfig,
    dynamic: DYNAMIC,
    state: "running",
    role: "primary",
    postgres: postgres(),
    holdsLock: true,
    paused: false,
    dcsReachable: true,
    dcsLastSeenEpochSeconds: 1795297538,
    cluster: cluster(),
    mppMembers: [],
    failsafeActive: false,
    pendingRestart: {},
    scheduledRestart: null,
    watchdogFailed: false,
    systemIdentifier: "7710744159307945845",
    fencing: "guard",
    raft: null,
    vip: null,
    now: ms(performance.now()),
    lastCycleAt: ms(performance.now()),
    copy: null,
    lastDecision: null,
    tags: {},
    ...changes,
  };
}

/** node2, a streaming replica. */
export function replicaFacts(changes: Partial<NodeFacts> = {}): NodeFacts {
  return facts({
    config: { scope: "demo", namespace: "service", name: "node2", restapi: restApi(), tags: {} } as unknown as NodeConfig,
    role: "replica",
    holdsLock: false,
    postgres: standby(),
    tags: { clonefrom: true },
    dcsLastSeenEpochSeconds: 1795297537,
    ...changes,
  });
}

/** Nothing counted yet, no lease, no guard, no Raft. */
export const MEASURES: NodeMeasures = {
  revision: 0,
  families: () => [],
  leaseRemainingMs: ms(0),
  guard: { armed: false, healthy: false, actsInMs: null },
  raft: null,
};

/** node1 leads, node2 is tagged nofailover. */
export const EXPLANATION: Explanation = {
  scope: "demo",
  name: "node1",
  time: "2026-11-21T22:00:00.000Z",
  dcs: "reachable",
  leader: "node1",
  paused: false,
  synchronous_mode: "off",
  members: [
    {
      name: "node2",
      role: "replica",
      state: "running",
      timeline: 1,
      wal: "0/4000000",
      leads: false,
      promotable: false,
      obstacles: [{ rule: "race-nofailover", reason: "it is tagged nofailover" }],
      switchover: { possible: false, obstacles: ["node2 is tagged nofailover"] },
    },
  ],
  decision: { rule: "leader-idle", why: "no action. I am (node1), the leader with the lock" },
  last_race: null,
};

/** A repository in which nothing is yet. */
export const NO_BACKUPS: BackupListing = {
  stanza: "demo",
  status: { code: 2, message: "no valid backups" },
  running: false,
  backups: [],
  archive: null,
};

/** What was asked of the node, in order. */
export class NodeUnderTest implements NodeService {
  current: NodeFacts;
  /** What the DCS holds; the facts' cluster follows it with `publish`. */
  stored: Cluster;
  readonly asked: string[] = [];
  readonly configs: { value: unknown; revision: number | null }[] = [];
  readonly failovers: { value: unknown; revision: number | null }[] = [];
  readonly restarts: RestartRequest[] = [];
  reads = 0;
  readFailure: StoreError | null = null;
  writeFailure: StoreError | null = null;
  readGate: Promise<unknown> = Promise.resolve();
  /** Members that do not answer, or answer otherwise. */
  answers: Record<string, Awaited<ReturnType<NodeService["askMember"]>> | "never"> = {};
  /** Called after the failover key was written. */
  onFailover: () => void = () => undefined;
  scheduled = false;
  #waiting: (() => void)[] = [];

  constructor(current: NodeFacts = facts()) {
    this.current = current;
    this.stored = current.cluster ?? cluster();
  }

  async facts(): Promise<NodeFacts> {
    return { ...this.current, now: ms(performance.now()) };
  }
  factsNow(): NodeFacts {
    return { ...this.current, now: ms(performance.now()) };
  }
  readonly events = new EventLog({ scope: "demo", name: "node1", wallNow: () => 1_795_297_538_000 });
  explained: Explanation = EXPLANATION;
  async explain(): Promise<Explanation> {
    return this.explained;
  }
  obstacle: string | null = null;
  async restoreObstacle(): Promise<string | null> {
    return this.obstacle;
  }
  listed: Awaited<ReturnType<NodeService["backups"]>> = ok(NO_BACKUPS);
  async backups(): ReturnType<NodeService["backups"]> {
    return this.listed;
  }
  measured: NodeMeasures = MEASURES;
  measures(): NodeMeasures {
    return this.measured;
  }
  async readCluster(): Promise<Result<Cluster, StoreError>> {
    this.reads++;
    await this.readGate;
    return this.readFailure === null ? ok(this.stored) : err(this.readFailure);
  }
  async writeConfig(value: Readonly<Record<string, unknown>>, expected: number | null): Promise<Result<null, StoreError>> {
    if (this.writeFailure !== null) return err(this.writeFailure);
    this.configs.push({ value, revision: expected });
    this.stored = {
      ...this.stored,
      config: { revision: revision(this.stored.revision + 1), data: value },
      revision: revision(this.stored.revision + 1),
    };
    return ok(null);
  }
  async writeFailover(value: Parameters<NodeService["writeFailover"]>[0], expected: number | null): Promise<Result<null, StoreError>> {
    if (this.writeFailure !== null) return err(this.writeFailure);
    this.failovers.push({ value, revision: expected });
    const next = revision(this.stored.revision + 1);
    const failover =
      value === null
        ? null
        : {
            revision: next,
            leader: value.leader,
            candidate: value.candidate,
            scheduledAt: value.scheduledAt === null ? null : Date.parse(value.scheduledAt),
            scheduledAtText: value.scheduledAt,
          };
    this.stored = { ...this.stored, failover, revision: next };
    this.onFailover();
    return ok(null);
  }
  async askMember(name: string): ReturnType<NodeService["askMember"]> {
    const answer = this.answers[name];
    if (answer === "never") return new Promise(() => undefined);
    return answer === undefined ? { timeline: 1, lsn: lsn(67108864), nofailover: false, role: "replica" } : answer;
  }
  clusterChange(deadline: number): Promise<Cluster | null> {
    const { promise, resolve } = Promise.withResolvers<Cluster | null>();
    const timer = setTimeout(() => resolve(this.current.cluster), Math.max(0, deadline - performance.now()));
    this.#waiting.push(() => {
      clearTimeout(timer);
      resolve(this.current.cluster);
    });
    return promise;
  }
  /** The cluster changes, and everybody who watches hears of it. */
  publish(changes: Partial<Cluster>): void {
    this.stored = { ...this.stored, ...changes, revision: revision(this.stored.revision + 1) };
    this.current = { ...this.current, cluster: this.stored };
    for (const wake of this.#waiting.splice(0)) wake();
  }
  wake(): void {
    this.asked.push("wake");
  }
  async restart(request: RestartRequest) {
    this.restarts.push(request);
    return { status: 200, text: "restarted successfully" };
  }
  async scheduleRestart(schedule: string, request: RestartRequest) {
    this.restarts.push(request);
    this.asked.push(`restart at ${schedule}`);
    return { status: 202, text: "Restart scheduled" };
  }
  async deleteScheduledRestart() {
    return this.scheduled;
  }
  readonly beats: FailsafeHeartbeat[] = [];
  readonly mppEvents: Readonly<Record<string, unknown>>[] = [];
  reload(): void {
    this.asked.push("reload");
  }
  async reinitialize(options: { readonly force: boolean; readonly fromLeader: boolean }) {
    this.asked.push(`reinitialize ${JSON.stringify(options)}`);
    return { status: 200, text: "reinitialize started" };
  }
  async mppEvent(body: Readonly<Record<string, unknown>>) {
    this.mppEvents.push(body);
    return { status: 200, text: "OK" };
  }

  async failsafe(beat: FailsafeHeartbeat) {
    this.beats.push(beat);
    return { status: 200, text: "Accepted", lsn: lsn(9007199254740993n) };
  }
}

export class LogUnderTest implements Log {
  readonly lines: string[] = [];
  debug(message: string): void {
    this.lines.push(`DEBUG ${message}`);
  }
  info(message: string): void {
    this.lines.push(`INFO ${message}`);
  }
  warning(message: string): void {
    this.lines.push(`WARNING ${message}`);
  }
  error(message: string): void {
    this.lines.push(`ERROR ${message}`);
  }
  critical(message: string): void {
    this.lines.push(`CRITICAL ${message}`);
  }
}
