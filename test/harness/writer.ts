// Owns the witness of a test: a client that inserts a row every 10 ms wherever a node takes it, and remembers each row that
// was acknowledged, when and by whom. It tries every node all the time, so a second primary cannot hide. Knows no product.

import { SQL } from "bun";
import { ownMs } from "./stall.ts";

export interface WriterTarget {
  readonly name: string;
  readonly dsn: string;
}

export interface AcknowledgedRow {
  readonly id: string;
  readonly node: string;
  /** `performance.now()` before the statement was sent, and after its answer came. */
  readonly sentAt: number;
  readonly ackedAt: number;
  /** What the server waited for at that commit, and how many standbys streamed. */
  readonly synchronousStandbyNames: string;
  readonly streaming: number;
  readonly timeline: number;
}

const EVERY_MS = 10;
/** A server that accepts a connection and says nothing counts as away after this long, where the test does not say otherwise. */
const ANSWER_MAX_MS = 2_000;
const CONNECT_MAX_SECONDS = 2;

/** A connection to a host that has fallen silent may never say that it is closed: the witness does not wait for it. */
const CLOSE_MAX_MS = 500;

async function closed(sql: SQL): Promise<void> {
  await Promise.race([sql.close({ timeout: 0 }).catch(() => {}), Bun.sleep(CLOSE_MAX_MS)]);
}

export class Writer {
  readonly acknowledged: AcknowledgedRow[] = [];
  readonly #loops: Promise<void>[] = [];
  readonly #stopping = new AbortController();
  readonly #answerMaxMs: number;
  #next = 0;

  private constructor(answerMaxMs: number) {
    this.#answerMaxMs = answerMaxMs;
  }

  /** Makes the table on `leader` and begins; resolves after the first acknowledged row. */
  static async start(targets: readonly WriterTarget[], leader: WriterTarget, answerMaxMs = ANSWER_MAX_MS): Promise<Writer> {
    await withConnection(leader, (sql) => sql.unsafe("create table if not exists witness (id text primary key)"));
    const writer = new Writer(answerMaxMs);
    const first = writer.afterNow(10_000);
    writer.#loops.push(...targets.map((target) => writer.#writeTo(target)));
    await first;
    return writer;
  }

  /** Resolves to the first row that was sent after this moment and acknowledged. Throws Error after `withinMs`. */
  async afterNow(withinMs: number): Promise<AcknowledgedRow> {
    const from = performance.now();
    const end = from + withinMs;
    for (let seen = this.acknowledged.length; ; ) {
      for (; seen < this.acknowledged.length; seen++) {
        const row = this.acknowledged[seen] as AcknowledgedRow;
        if (row.sentAt >= from) return row;
      }
      if (performance.now() > end) throw new Error(`no write was acknowledged within ${withinMs} ms`);
      await Bun.sleep(EVERY_MS / 2);
    }
  }

  /** Resolves to the first row that `node` acknowledges from now on. */
  async afterNowBy(node: string | ((name: string) => boolean), withinMs: number): Promise<AcknowledgedRow> {
    const end = performance.now() + withinMs;
    const wanted = typeof node === "string" ? (name: string) => name === node : node;
    for (let seen = this.acknowledged.length; ; ) {
      for (; seen < this.acknowledged.length; seen++) {
        const row = this.acknowledged[seen] as AcknowledgedRow;
        if (wanted(row.node)) return row;
      }
      if (performance.now() > end) throw new Error(`no write was acknowledged by ${String(node)} within ${withinMs} ms`);
      await Bun.sleep(EVERY_MS / 2);
    }
  }

  /** The longest time without an acknowledgement, in ms, of those that end after `since`; it may begin before. */
  longestGap(since = 0): { readonly ms: number; readonly from: number } {
    const times = this.acknowledged.map((row) => row.ackedAt).sort((left, right) => left - right);
    let longest = { ms: 0, from: since };
    for (let index = 1; index < times.length; index++) {
      const [before, at] = [times[index - 1] as number, times[index] as number];
      if (at >= since && at - before > longest.ms) longest = { ms: at - before, from: before };
    }
    return longest;
  }

  /** The longest time without an acknowledgement, in ms, less what the machine took of it: what a bound is for. */
  longestOwnGap(since = 0): number {
    const times = this.acknowledged.map((row) => row.ackedAt).sort((left, right) => left - right);
    let longest = 0;
    for (let index = 1; index < times.length; index++) {
      const [before, at] = [times[index - 1] as number, times[index] as number];
      // Asked only where it can matter: a run has thousands of rows.
      if (at >= since && at - before > longest) longest = Math.max(longest, ownMs(before, at));
    }
    return longest;
  }

  /**
   * What only two primaries at one time explain: rows that were sent after a row of a later timeline was acknowledged, and
   * rows of one timeline from two nodes. Empty where all is well.
   */
  overlaps(): readonly AcknowledgedRow[] {
    const makers = new Map<number, string>();
    for (const row of this.acknowledged) if (!makers.has(row.timeline)) makers.set(row.timeline, row.node);
    const begun = new Map<number, number>();
    for (const row of this.acknowledged) begun.set(row.timeline, Math.min(row.ackedAt, begun.get(row.timeline) ?? Infinity));
    return this.acknowledged.filter((row) => {
      const superseded = [...begun].some(([timeline, at]) => timeline > row.timeline && at < row.sentAt);
      return superseded || makers.get(row.timeline) !== row.node;
    });
  }

  /** Ends the loops; what was acknowledged stays readable. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  /** Stops, and resolves to the acknowledged rows that `leader` does not have. */
  async lost(leader: WriterTarget): Promise<readonly AcknowledgedRow[]> {
    await this.stop();
    const there = await withConnection(leader, (sql) => sql.unsafe("select id from witness").values());
    const ids = new Set((there as unknown as readonly (readonly [string])[]).map(([id]) => id));
    return this.acknowledged.filter((row) => !ids.has(row.id));
  }

  async #writeTo(target: WriterTarget): Promise<void> {
    const { signal } = this.#stopping;
    let sql: SQL | null = null;
    let asStandby = true;
    while (!signal.aborted) {
      const begin = performance.now();
      try {
        sql ??= connect(target);
        // A standby is asked what it is: a refused insert would fill its log.
        if (asStandby) asStandby = await bounded(this.#inRecovery(sql), this.#answerMaxMs);
        if (!asStandby) await bounded(this.#insert(sql, target.name), this.#answerMaxMs);
      } catch {
        // Down, read-only, cut or hung: what it did not acknowledge does not count. A new connection is tried.
        asStandby = true;
        if (sql !== null) await closed(sql);
        sql = null;
      }
      await Bun.sleep(Math.max(1, EVERY_MS - (performance.now() - begin)));
    }
    if (sql !== null) await closed(sql);
  }

  async #inRecovery(sql: SQL): Promise<boolean> {
    const [row] = (await sql.unsafe("select pg_is_in_recovery() as standby")) as readonly { standby: boolean }[];
    return row?.standby ?? true;
  }

  async #insert(sql: SQL, node: string): Promise<void> {
    const id = `${node}-${this.#next++}`;
    const sentAt = performance.now();
    const [row] = (await sql.unsafe(
      `insert into witness values ('${id}') returning current_setting('synchronous_standby_names') as names,
       (select count(*)::int from pg_stat_replication where state = 'streaming') as streaming,
       ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int as timeline`,
    )) as readonly { names: string; streaming: number; timeline: number }[];
    this.acknowledged.push({
      id,
      node,
      sentAt,
      ackedAt: performance.now(),
      synchronousStandbyNames: row?.names ?? "",
      streaming: row?.streaming ?? 0,
      timeline: row?.timeline ?? 0,
    });
  }
}

/** One statement's worth of a connection of its own. */
export async function withConnection<T>(target: WriterTarget, use: (sql: SQL) => PromiseLike<T>): Promise<T> {
  const sql = connect(target);
  try {
    return await use(sql);
  } finally {
    await sql.close({ timeout: 0 });
  }
}

function connect(target: WriterTarget): SQL {
  return new SQL(target.dsn, { max: 1, connectionTimeout: CONNECT_MAX_SECONDS, onclose: () => {} });
}

async function bounded<T>(answer: Promise<T>, withinMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer")), withinMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
