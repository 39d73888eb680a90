// Owns a light AbortController for simulated time: the platform's own takes a fifth of a simulation, as it makes DOM events and an
// error object for each abort. Same contract for what the product uses of it: aborted, listeners in order, each told once.

type Listener = (() => void) | { handleEvent(): void };

class LightSignal {
  aborted = false;
  #first: Listener | null = null;
  #more: Listener[] | null = null;

  addEventListener(_type: "abort", listener: Listener): void {
    if (this.aborted) return;
    if (this.#first === null && this.#more === null) this.#first = listener;
    else {
      this.#more ??= [];
      this.#more.push(listener);
    }
  }

  removeEventListener(_type: "abort", listener: Listener): void {
    if (this.#first === listener) this.#first = null;
    else if (this.#more !== null) {
      const index = this.#more.indexOf(listener);
      if (index >= 0) this.#more.splice(index, 1);
    }
  }

  abort(): void {
    if (this.aborted) return;
    this.aborted = true;
    const first = this.#first;
    const more = this.#more;
    this.#first = null;
    this.#more = null;
    if (first !== null) tell(first);
    if (more !== null) for (const listener of more) tell(listener);
  }
}

function tell(listener: Listener): void {
  if (typeof listener === "function") listener();
  else listener.handleEvent();
}

class LightAbortController {
  readonly signal = new LightSignal();

  abort(): void {
    this.signal.abort();
  }
}

/** Runs with the light one in place of the platform's, and puts that back. */
export function withLightAbort<T>(run: () => T): T {
  const platform = globalThis.AbortController;
  globalThis.AbortController = LightAbortController as unknown as typeof AbortController;
  try {
    return run();
  } finally {
    globalThis.AbortController = platform;
  }
}
