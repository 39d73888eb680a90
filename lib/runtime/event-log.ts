// Owns the events of this process: their ids, the bounded history, and who is told of each as it happens. Knows nothing of what they
// mean, waits for nobody, and keeps each as the text that it is told in.

import { maskText } from "../config/mask.ts";
import type { EventBody, EventKind, NodeEvent } from "../model/event.ts";

/** About a day of a quiet node; a quarter of a megabyte at most. */
export const EVENTS_KEPT_MAX = 256;
/** Of a sentence; programs may have said a lot. */
const TEXT_MAX_CHARS = 2000;

export interface KeptEvent {
  readonly id: string;
  readonly kind: EventKind;
  readonly text: string;
  /** A NodeEvent as JSON, on one line. */
  readonly json: string;
}

export interface EventHistory {
  readonly events: readonly KeptEvent[];
  /** Events that came after the one asked for are no longer kept, or were another process's. */
  readonly missed: boolean;
}

/** What readers of the events are given. */
export interface EventSource {
  /** Those after the event of that id, oldest first; all that are kept where it is null or not known here. */
  since(id: string | null): EventHistory;
  /** Told of each event right after it was kept; the value ends it. Must neither throw nor wait. */
  listen(listener: (event: KeptEvent) => void): () => void;
}

export interface EventLogOptions {
  readonly scope: string;
  readonly name: string;
  /** Epoch milliseconds. */
  readonly wallNow: () => number;
}

export class EventLog implements EventSource {
  readonly #options: EventLogOptions;
  /** Told apart from any other process of this node by when it began. */
  readonly #process: string;
  readonly #kept: KeptEvent[] = [];
  readonly #listeners = new Set<(event: KeptEvent) => void>();
  /** Of the next event. */
  #number = 1;

  constructor(options: EventLogOptions) {
    this.#options = options;
    this.#process = options.wallNow().toString(36);
  }

  add(body: EventBody, text: string, rule: string | null): KeptEvent {
    const { scope, name, wallNow } = this.#options;
    const id = `${this.#process}-${this.#number}`;
    this.#number += 1;
    const { kind, ...rest } = body;
    // Whoever can read the API reads it, and a program's last words may hold what its address or options held.
    const masked = maskText(text);
    const cut = masked.length > TEXT_MAX_CHARS ? `${masked.slice(0, TEXT_MAX_CHARS)} …` : masked;
    const event = { id, time: new Date(wallNow()).toISOString(), scope, name, kind, text: cut, rule, ...rest } as NodeEvent;
    const kept: KeptEvent = { id, kind, text: cut, json: JSON.stringify(event) };
    this.#kept.push(kept);
    if (this.#kept.length > EVENTS_KEPT_MAX) this.#kept.shift();
    for (const listener of this.#listeners) listener(kept);
    return kept;
  }

  since(id: string | null): EventHistory {
    if (id === null) return { events: [...this.#kept], missed: false };
    const match = /^([0-9a-z]+)-(\d{1,15})$/.exec(id);
    const known = match?.[1] === this.#process ? Number(match[2]) : null;
    const first = this.#number - this.#kept.length;
    if (known === null || known >= this.#number) return { events: [...this.#kept], missed: true };
    return { events: this.#kept.slice(Math.max(0, known + 1 - first)), missed: known + 1 < first };
  }

  listen(listener: (event: KeptEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
