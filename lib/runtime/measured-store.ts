// Owns a store that tells how long each request took and how it ended. It passes everything on as it is. A watch waits on purpose:
// of that only failures are told.

import type { Store } from "../dcs/store.ts";
import type { Clock } from "../model/clock.ts";
import type { StoreError } from "../model/errors.ts";
import type { Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";

export interface RequestMeasure {
  /** As the store's method is called, in words of a metric: `open_session`. */
  readonly request: string;
  /** Null for a watch. */
  readonly took: Ms | null;
  /** Null where it was answered. */
  readonly error: StoreError["kind"] | null;
}

export function measuredStore(store: Store, clock: Clock, told: (measure: RequestMeasure) => void): Store {
  const timed = async <T>(request: string, asked: Promise<Result<T, StoreError>>): Promise<Result<T, StoreError>> => {
    const begun = clock.now();
    const answer = await asked;
    told({ request, took: ms(clock.now() - begun), error: answer.ok ? null : answer.error.kind });
    return answer;
  };
  return {
    kind: store.kind,
    snapshot: (prefix, options) => timed("snapshot", store.snapshot(prefix, options)),
    put: (key, value, options) => timed("put", store.put(key, value, options)),
    delete: (key, options) => timed("delete", store.delete(key, options)),
    transaction: (changes, options) => timed("transaction", store.transaction(changes, options)),
    openSession: (options) => timed("open_session", store.openSession(options)),
    renewSession: (id, options) => timed("renew_session", store.renewSession(id, options)),
    sessionInfo: (id, options) => timed("session_info", store.sessionInfo(id, options)),
    closeSession: (id, options) => timed("close_session", store.closeSession(id, options)),
    limits: (options) => timed("limits", store.limits(options)),
    watch: async (prefix, after, options) => {
      const answer = await store.watch(prefix, after, options);
      const ended = options.signal?.aborted === true;
      if (!answer.ok && !ended) told({ request: "watch", took: null, error: answer.error.kind });
      return answer;
    },
    close: () => store.close(),
  };
}
