// Owns what the rows of the Raft need of a system that is measured: three servers on loopback that can be struck, and clients
// of them. Measures nothing.

/** One server, as a process of its own. */
export interface Server {
  readonly name: string;
  /** Throws Error while it is down. */
  readonly pid: number;
  /** Starts it (again) with the data that it has; resolves once it listens. */
  start(): Promise<void>;
  signal(signal: "SIGKILL" | "SIGSTOP" | "SIGTERM"): void;
  /** SIGKILL, and waits until it is gone. The data stays. */
  end(): Promise<void>;
}

/** Each operation goes to any of the client's servers, is repeated until it is done, and throws Error after REQUEST_BUDGET_MS. */
export interface Client {
  /** Confirmed, durable on a majority. */
  put(key: string, value: string): Promise<void>;
  /** The key ends with a session (a lease) of that length, which is never renewed. */
  putForAWhile(key: string, ttlMs: number): Promise<void>;
  /** A read that sees everything that was confirmed. */
  has(key: string): Promise<boolean>;
  close(): Promise<void>;
}

export interface RaftSystem {
  readonly name: string;
  readonly version: string;
  readonly servers: readonly Server[];
  /** The leader, once all servers follow it: the cluster is whole. */
  leader(): Promise<Server>;
  client(servers: readonly Server[]): Client;
  /** Nothing of it is left. */
  close(): Promise<void>;
}

export const SERVERS = 3;
export const REQUEST_BUDGET_MS = 60_000;
const PROBE_MS = 5;

/** Asks again and again until there is an answer. Throws Error after REQUEST_BUDGET_MS. */
export async function found<T>(what: string, probe: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const end = performance.now() + REQUEST_BUDGET_MS;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`${what}: not within ${REQUEST_BUDGET_MS} ms`);
    await Bun.sleep(PROBE_MS);
  }
}
