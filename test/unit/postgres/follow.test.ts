// Goal: the source that an adopted server follows is read back from its primary_conninfo as libpq would read it.
// Method: what our own writer produces must come back, whatever the values; and what people write by hand.

import { expect, test } from "bun:test";
import { connInfo } from "../../../lib/postgres/conninfo.ts";
import { parseConnInfo, sourceOf } from "../../../lib/postgres/follow.ts";
import { fc } from "../../harness/properties.ts";

test("every connection string that is written can be read back", () => {
  const key = fc.stringMatching(/^[a-z_]{1,8}$/);
  fc.assert(
    fc.property(fc.dictionary(key, fc.string({ unit: "grapheme" }), { noNullPrototype: true }), (settings) => {
      expect(Object.fromEntries(parseConnInfo(connInfo(settings)))).toEqual(settings);
    }),
  );
});

test("host, port and slot of the source are found, and a missing host is no source", () => {
  expect(sourceOf("user=r host=10.0.0.7 port=6543 application_name=a", "slot_a")).toEqual({
    name: null,
    host: "10.0.0.7",
    port: 6543,
    slotName: "slot_a",
  });
  expect(sourceOf("host = 'a b' user='it''s'", "")).toMatchObject({ host: "a b", port: 5432, slotName: null });
  expect(sourceOf("hostaddr=10.0.0.7", "")?.host).toBe("10.0.0.7");
  for (const none of ["", "user=r port=1", "host=''", "="]) expect(sourceOf(none, "s")).toBeNull();
});
