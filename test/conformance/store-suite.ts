// Owns the suite that every store passes (memory, Consul, Raft): one case for each sentence of lib/dcs/store.ts.
// Must not know which backend it runs on.

import { describe } from "bun:test";
import { keyCases } from "./key-cases.ts";
import { sessionCases } from "./session-cases.ts";
import { type OpenBackend, SuiteContext } from "./suite-context.ts";
import { transactionCases } from "./transaction-cases.ts";
import { watchCases } from "./watch-cases.ts";

/** Registers the cases with bun:test. `open` is called once, before the first case; its `close` after the last. */
export function storeSuite(name: string, open: OpenBackend): void {
  describe(`store: ${name}`, () => {
    const context = new SuiteContext(open);
    describe("keys", () => keyCases(context));
    describe("transactions", () => transactionCases(context));
    describe("watches", () => watchCases(context));
    describe("sessions", () => sessionCases(context));
  });
}
