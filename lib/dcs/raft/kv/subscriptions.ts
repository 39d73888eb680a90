// Owns who waits on this member for a change below a prefix. Not part of the replicated state: nothing here decides what is
// applied. A subscription is woken once and is then gone.

interface Subscription {
  readonly prefix: string;
  readonly after: number;
  readonly wake: () => void;
  state: "waiting" | "gone";
}

export class Subscriptions {
  readonly #max: number;
  readonly #byPrefix = new Map<string, Set<Subscription>>();
  #size = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#size;
  }

  /** Null where too many wait already. */
  add(prefix: string, after: number, wake: () => void): (() => void) | null {
    if (this.#size >= this.#max) return null;
    const subscription: Subscription = { prefix, after, wake, state: "waiting" };
    const those = this.#byPrefix.get(prefix);
    if (those === undefined) this.#byPrefix.set(prefix, new Set([subscription]));
    else those.add(subscription);
    this.#size++;
    return () => {
      if (subscription.state === "waiting") this.#remove(subscription);
    };
  }

  /** The keys changed at this revision. What is woken may subscribe anew at once. */
  changed(keys: readonly string[], revision: number): void {
    if (this.#size === 0) return;
    const due: Subscription[] = [];
    for (const [prefix, those] of this.#byPrefix) {
      if (!keys.some((key) => key.startsWith(prefix))) continue;
      for (const subscription of those) if (revision > subscription.after) due.push(subscription);
    }
    this.#wake(due);
  }

  /** Asks for each subscription whether its prefix has changed: after a snapshot was installed. */
  review(isDue: (prefix: string, after: number) => boolean): void {
    const due: Subscription[] = [];
    for (const those of this.#byPrefix.values()) {
      for (const subscription of those) if (isDue(subscription.prefix, subscription.after)) due.push(subscription);
    }
    this.#wake(due);
  }

  #wake(due: readonly Subscription[]): void {
    for (const subscription of due) {
      // One that was woken before it may have taken this one back.
      if (subscription.state === "gone") continue;
      this.#remove(subscription);
      subscription.wake();
    }
  }

  #remove(subscription: Subscription): void {
    subscription.state = "gone";
    this.#size--;
    const those = this.#byPrefix.get(subscription.prefix);
    those?.delete(subscription);
    if (those?.size === 0) this.#byPrefix.delete(subscription.prefix);
  }
}
