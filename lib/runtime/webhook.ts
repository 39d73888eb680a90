// Owns sending one event to a hook's address. Follows no redirect, keeps no answer, and tells nobody address or headers.

import { request } from "undici/index.js";
import type { PostEvent } from "./hooks.ts";

/** Of an answer's body, so that its connection can be used again; more closes it. */
const ANSWER_MAX_BYTES = 64 * 1024;

export const postEvent: PostEvent = async (hook, event, signal) => {
  const timeout = new Promise<never>((_, reject) =>
    signal.addEventListener("abort", () => reject(new Error("no answer in time")), { once: true }),
  );
  const exchange = async (): Promise<string | null> => {
    const headers = { ...hook.headers, "content-type": "application/json", "idempotency-key": event.id };
    const { statusCode, body } = await request(hook.url ?? "", { method: "POST", headers, body: event.json, signal });
    await body.dump({ limit: ANSWER_MAX_BYTES, signal });
    return statusCode >= 200 && statusCode < 300 ? null : `it answered ${statusCode}`;
  };
  try {
    return await Promise.race([exchange(), timeout]);
  } catch (error) {
    if (signal.aborted) return "no answer in time";
    // The message of some errors holds the address, which may be a secret.
    const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;
    return code === null ? "it cannot be reached" : `it cannot be reached (${code})`;
  }
};
