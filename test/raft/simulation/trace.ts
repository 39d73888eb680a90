// Owns what is remembered of a run: a hash of everything that happened (equal seeds have equal hashes), the last events for
// the report of a violation, and how often each fault came. Formats nothing before somebody wants to read it.

/** How many events a report can show. */
const KEPT = 4096;

export class Trace {
  hash = 0x811c9dc5;
  /** Everything that a core was told, or that happened to a machine. */
  events = 0;
  readonly faults = new Map<string, number>();
  readonly #print: ((line: string) => void) | null;
  readonly #times: Float64Array = new Float64Array(KEPT);
  readonly #whats: (() => string)[] = [];
  #records = 0;

  constructor(print: ((line: string) => void) | null) {
    this.#print = print;
  }

  /** Mixes a number into the hash. */
  mix(value: number): void {
    this.hash = Math.imul(this.hash ^ (value | 0), 0x01000193);
    this.hash ^= this.hash >>> 15;
  }

  /** `what` is called only when the line is read: it must not depend on what changes later. */
  record(time: number, what: () => string): void {
    const slot = this.#records % KEPT;
    this.#times[slot] = time;
    this.#whats[slot] = what;
    this.#records += 1;
    if (this.#print !== null) this.#print(line(time, what()));
  }

  fault(time: number, name: string, what: string): void {
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
    this.mix(time * 1000);
    this.record(time, () => `FAULT ${name} ${what}`);
  }

  /** The last lines, oldest first. */
  tail(lines: number): readonly string[] {
    const count = Math.min(lines, this.#records, KEPT);
    return Array.from({ length: count }, (_, index) => {
      const slot = (this.#records - count + index) % KEPT;
      return line(this.#times[slot] as number, (this.#whats[slot] as () => string)());
    });
  }
}

function line(time: number, what: string): string {
  return `${(time / 1000).toFixed(4).padStart(9)} ${what}`;
}

/** What the simulation found to be broken. Ends the run. */
export class Violation extends Error {
  override readonly name = "Violation";
}
