// The list in pages, compared with a plain array; long enough for several pages.

import { expect, test } from "bun:test";
import { PagedList } from "../../../../../lib/dcs/raft/kv/paged-list.ts";
import { fc } from "../../../../harness/properties.ts";

const LONGEST = 700;

test("after any pushes and drops it holds what a plain array holds, and nothing outside it", () => {
  const step = fc.record({ kind: fc.constantFrom("push", "drop"), by: fc.nat(LONGEST) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const list = new PagedList<number>();
      let plain: number[] = [];
      let next = 0;
      const copies: { readonly list: PagedList<number>; readonly plain: readonly number[] }[] = [];
      for (const { kind, by } of steps) {
        if (kind === "drop") {
          list.dropFirst(by);
          plain = plain.slice(by);
        }
        for (let count = 0; kind === "push" && count < by; count += 1) {
          list.push(next);
          plain.push(next);
          next += 1;
        }
        expect(Array.from({ length: list.length }, (_, place) => list.at(place))).toEqual(plain);
        expect([list.at(-1), list.at(plain.length)]).toEqual([undefined, undefined]);
        copies.push({ list: new PagedList(list), plain: [...plain] });
      }
      // Each copy is what the list was, whatever became of the list since.
      for (const copy of copies)
        expect(Array.from({ length: copy.list.length }, (_, place) => copy.list.at(place))).toEqual([...copy.plain]);
    }),
    { numRuns: 60 },
  );
});
