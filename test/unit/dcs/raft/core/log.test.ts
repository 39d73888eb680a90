// The log in memory, compared with a plain list of all entries that ever were.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { KEPT_ENTRIES, PAGE_ENTRIES, RaftLog } from "../../../../../lib/dcs/raft/core/log.ts";
import type { LogEntry } from "../../../../../lib/dcs/raft/core/types.ts";
import { logIndex, term } from "../../../../../lib/model/raft.ts";

const BASE = { index: logIndex(0), term: term(0), time: 0 };

function entry(index: number, size: number): LogEntry {
  const payload = Uint8Array.from({ length: size }, (_, place) => (index * 31 + place) & 0xff);
  return { index: logIndex(index), term: term(1 + (index >> 2)), kind: KINDS[index % 3] ?? "command", time: index * 10 + 0.25, payload };
}

const KINDS = ["no-op", "command", "configuration"] as const;

test("after any appends, truncations, compactions and settling the log holds what a plain list holds", () => {
  // Of the log: evenly spread, which random doubles are not.
  const part = fc.nat(1000).map((thousandth) => thousandth / 1000);
  const step = fc.oneof(
    fc.record({ kind: fc.constant("append" as const), size: fc.nat(50), count: fc.integer({ min: 1, max: PAGE_ENTRIES + KEPT_ENTRIES }) }),
    fc.record({ kind: fc.constant("append" as const), size: fc.nat(40_000), count: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ kind: fc.constant("settle" as const), at: part }),
    fc.record({ kind: fc.constant("truncate" as const), at: part }),
    fc.record({ kind: fc.constant("compact" as const), at: part }),
  );
  let runsWithPages = 0;
  fc.assert(
    fc.property(fc.constantFrom(0, KEPT_ENTRIES + 3 * PAGE_ENTRIES), fc.array(step, { maxLength: 20 }), (begin, steps) => {
      // Half of the runs begin with three pages: few come to one by themselves.
      let all: LogEntry[] = Array.from({ length: begin }, (_, place) => entry(place + 1, place % 50));
      const log = new RaftLog(BASE, all);
      log.settle(begin);
      let base = 0;
      let settled = begin;
      for (const action of steps) {
        if (action.kind === "append") {
          for (let count = 0; count < action.count; count++) {
            const next = entry(all.length + 1, action.size);
            all.push(next);
            log.append(next);
          }
        } else if (all.length > base) {
          const index = base + 1 + Math.floor(action.at * (all.length - base - 1));
          if (action.kind === "truncate") {
            if (index <= settled) continue;
            all = all.slice(0, index - 1);
            log.truncateFrom(index);
          } else if (action.kind === "settle") {
            settled = Math.max(settled, index);
            log.settle(index);
          } else {
            base = index;
            log.compact(index);
          }
        }
      }
      expect([log.baseIndex, log.lastIndex, log.heldEntries]).toEqual([logIndex(base), logIndex(all.length), all.length - base]);
      let bytes = 0;
      for (let index = base; index <= all.length + 1; index++) {
        if (index > base) bytes += all[index - 1]?.payload.length ?? 0;
        expect(log.termAt(index)).toBe(index === 0 ? term(0) : (all[index - 1]?.term ?? null));
        expect(log.timeAt(index)).toBe(index === 0 ? 0 : (all[index - 1]?.time ?? null));
        expect(log.bytesBetween(base, Math.min(index, all.length))).toBe(bytes);
      }
      expect([log.lastTerm, log.lastTime]).toEqual([all.at(-1)?.term ?? term(0), all.at(-1)?.time ?? 0]);
      expect(log.slice(base + 1, { entriesMax: all.length + 1, bytesMax: 1e9 })).toEqual(all.slice(base));
      for (let index = base + 1; index <= all.length; index += 97) expect(log.entry(index)).toEqual(all[index - 1] as LogEntry);
      // An entry out of a page is made anew.
      if (all.length > base && log.entry(base + 1) !== all[base]) runsWithPages++;
    }),
  );
  expect(runsWithPages).toBeGreaterThan(0);
});

test("what is settled is held as bytes by the page, and is never truncated", () => {
  const entries = Array.from({ length: 2 * PAGE_ENTRIES + KEPT_ENTRIES }, (_, place) => entry(place + 1, 10));
  const log = new RaftLog(BASE, entries);
  log.settle(PAGE_ENTRIES + KEPT_ENTRIES - 1);
  expect(log.entry(1)).toBe(entries[0] as LogEntry);
  log.settle(PAGE_ENTRIES + KEPT_ENTRIES);
  // One page; those behind it are as they came.
  const [last, next] = [PAGE_ENTRIES, PAGE_ENTRIES + 1];
  expect(log.entry(last)).not.toBe(entries[last - 1] as LogEntry);
  expect(log.entry(last)).toEqual(entries[last - 1] as LogEntry);
  expect(log.entry(next)).toBe(entries[next - 1] as LogEntry);
  expect(() => log.truncateFrom(last)).toThrow(`settled up to ${last}`);
  log.truncateFrom(next);
  expect(log.lastIndex).toBe(logIndex(last));
  expect(() => log.entry(next)).toThrow(`not ${next}`);
});

test("a slice keeps both bounds, and gives at least one entry where there is one", () => {
  const log = new RaftLog(
    BASE,
    [1, 2, 3, 4].map((index) => entry(index, 100)),
  );
  expect(log.slice(2, { entriesMax: 2, bytesMax: 1e9 }).map(({ index }) => index)).toEqual([2, 3].map(logIndex));
  expect(log.slice(2, { entriesMax: 9, bytesMax: 250 }).map(({ index }) => index)).toEqual([2, 3].map(logIndex));
  expect(log.slice(2, { entriesMax: 9, bytesMax: 1 }).map(({ index }) => index)).toEqual([2].map(logIndex));
  expect(log.slice(5, { entriesMax: 9, bytesMax: 1 })).toEqual([]);
});

test("a slice is asked for again by the next follower, and never shows what a truncation or a reset has taken away", () => {
  const bounds = { entriesMax: 9, bytesMax: 1e9 };
  const log = new RaftLog(
    BASE,
    [1, 2, 3].map((index) => entry(index, 1)),
  );
  const before = log.slice(2, bounds);
  expect(log.slice(2, bounds)).toBe(before);
  const [kept, gone] = before as [LogEntry, LogEntry];
  const other = { ...gone, term: term(9) };
  log.truncateFrom(3);
  log.append(other);
  expect(log.slice(2, bounds)).toEqual([kept, other]);
  expect(before).toEqual([kept, gone]);
  log.reset(logIndex(1), term(1), 0);
  for (const each of [kept, gone]) log.append(each);
  expect(log.slice(2, bounds)).toEqual([kept, gone]);
});

test("what is truncated is no longer durable, and nothing is durable beyond the end", () => {
  const log = new RaftLog(
    BASE,
    [1, 2, 3].map((index) => entry(index, 1)),
  );
  expect(log.durable).toBe(logIndex(3));
  log.truncateFrom(2);
  expect(log.durable).toBe(logIndex(1));
  log.append(entry(2, 1));
  log.madeDurable(9);
  expect(log.durable).toBe(logIndex(2));
});

test("an entry that leaves a gap is refused", () => {
  expect(() => new RaftLog(BASE, [entry(2, 1)])).toThrow("does not follow");
});
