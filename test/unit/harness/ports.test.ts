import { expect, test } from "bun:test";
import { portRange } from "../../harness/ports.ts";

test("a range of test ports is two ports in their order; anything else is told of by its variable", () => {
  expect(portRange("16000-19999")).toEqual({ from: 16_000, to: 19_999 });
  for (const text of ["16000", "16000:19999", "16000-", "-19999", "19999-16000", "0-100", "60000-70000", "a-b", "1-2-3", " 1-2"])
    expect(() => portRange(text)).toThrow(`MATRIARCH_TEST_PORTS: ${JSON.stringify(text)} is no range of ports; write 16000-19999`);
});
