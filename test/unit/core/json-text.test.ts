import { describe, expect, test } from "bun:test";
import { formatJson, parseJson } from "../../../lib/core/json-text.ts";
import { fc } from "../../harness/properties.ts";

describe("JSON text", () => {
  test("has one space after colon and comma, none elsewhere", () => {
    expect(formatJson({ a: 1, b: [true, null, "x"], c: {}, d: [] })).toBe('{"a": 1, "b": [true, null, "x"], "c": {}, "d": []}');
  });

  test("keeps positions beyond 2^53 exact in both directions", () => {
    expect(formatJson({ location: 9007199254740993n })).toBe('{"location": 9007199254740993}');
    expect(parseJson('{"a": 9007199254740993, "b": 18446744073709551615, "c": 1.5, "d": 7}')).toEqual({
      a: 9007199254740993n,
      b: 18446744073709551615n,
      c: 1.5,
      d: 7,
    });
  });

  test("leaves out what is undefined and escapes what is not ASCII", () => {
    expect(formatJson({ a: undefined, ü: "é\u2028\u{1f418}\n" })).toBe('{"\\u00fc": "\\u00e9\\u2028\\ud83d\\udc18\\n"}');
  });

  test("refuses what JSON cannot hold", () => {
    expect(() => formatJson(Number.NaN)).toThrow(TypeError);
    expect(() => formatJson(() => 1)).toThrow(TypeError);
  });

  test("reads back as JSON.stringify would have written it, for every JSON value", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => expect(JSON.stringify(JSON.parse(formatJson(value)))).toBe(JSON.stringify(value))));
  });
});
