// Owns waiting in tests for what announces itself to nobody: it is asked for again and again, within a bound. Knows no product.

/** Short against every time that is measured with it; each look costs a request or a query. */
const LOOK_EVERY_MS = 20;

/**
 * Asks until the answer is neither null, false nor undefined, and resolves to it. A look that throws counts as "not yet".
 * Throws Error with `what`, the time and the last failure when `withinMs` is over.
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | null | false | undefined> | T | null | false | undefined,
  options: { readonly withinMs: number; readonly everyMs?: number },
): Promise<T> {
  const end = performance.now() + options.withinMs;
  let failure = "";
  for (;;) {
    try {
      const answer = await look();
      if (answer !== null && answer !== false && answer !== undefined) return answer;
      failure = "";
    } catch (error) {
      failure = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (performance.now() >= end) throw new Error(`not within ${options.withinMs} ms: ${what}${failure}`);
    await Bun.sleep(options.everyMs ?? LOOK_EVERY_MS);
  }
}

/** Watches for `forMs` that nothing speaks against it. Throws Error with what `look` says as soon as it says something. */
export async function staysTrue(
  what: string,
  look: () => Promise<string | null> | string | null,
  options: { readonly forMs: number; readonly everyMs?: number },
): Promise<void> {
  const end = performance.now() + options.forMs;
  while (performance.now() < end) {
    const objection = await look();
    if (objection !== null) throw new Error(`${what}: ${objection}`);
    await Bun.sleep(options.everyMs ?? LOOK_EVERY_MS);
  }
}
