// Owns the suite of ClusterStore's operations over a store; run over every store, so that what a leader or a member is
// has one meaning. Must not know which backend it runs on.

import { describe } from "bun:test";
import { ClusterStore } from "../../lib/dcs/cluster-store.ts";
import type { Log } from "../../lib/model/log.ts";
import { type Ms, ms } from "../../lib/model/units.ts";
import { keyOperationCases } from "./key-operation-cases.ts";
import { lockCases } from "./lock-cases.ts";
import { memberCases } from "./member-cases.ts";
import { type OpenBackend, SuiteContext } from "./suite-context.ts";

/** Registers the cases with bun:test; `open` as in storeSuite. */
export function clusterStoreSuite(name: string, open: OpenBackend): void {
  describe(`cluster store: ${name}`, () => {
    const context = new ClusterSuiteContext(open);
    describe("lock", () => lockCases(context));
    describe("members and sessions", () => memberCases(context));
    describe("other keys", () => keyOperationCases(context));
  });
}

/** A cluster of its own for each case, seen by several nodes. */
export interface SuiteCluster {
  node(name: string, options?: { readonly group?: number; readonly ttl?: Ms }): ClusterStore;
  /** What every node of the cluster has logged as a warning. */
  readonly warnings: readonly string[];
  readonly namespace: string;
  readonly scope: string;
}

export class ClusterSuiteContext extends SuiteContext {
  cluster(): SuiteCluster {
    const parts = this.freshPrefix().replace(/\/$/, "").split("/");
    const scope = parts.pop() ?? "";
    const namespace = parts.join("/");
    const warnings: string[] = [];
    const node: SuiteCluster["node"] = (name, { group, ttl } = {}) =>
      new ClusterStore({
        store: this.client(),
        clock: this.clock,
        log: warningsOnly(warnings),
        namespace,
        scope,
        group: group ?? null,
        name,
        ttl: ttl ?? ms(Math.max(this.backend.minTtl, 20_000)),
      });
    return { node, warnings, namespace, scope };
  }
}

function warningsOnly(warnings: string[]): Log {
  const ignore = (): void => {};
  return { debug: ignore, info: ignore, warning: (message) => warnings.push(message), error: ignore, critical: ignore };
}
