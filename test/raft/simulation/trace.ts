// Owns what is remembered of a run: a hash of everything that happened (equal seeds have equal hashes), the last events for
// the report of a violation, and how often each fault came. Formats nothing before somebody wants to read it.

/** How many events a report can show. More would keep what they were about alive, for nobody. */
const KEPT = 64;

export class Trace {
  hash = 0x811c9dc5;
  /** Everything that a core was told, or that happened to a machine. */
  events = 0;
  readonly faults = new Map<string, number>();
  readonly #print: ((line: string) => void) | null;
  readonly #times: Float64Array = new Float64Array(KEPT);
  readonly #names: string[] = [];
  readonly #values: unknown[] = [];
  readonly #describes: ((value: never) => string)[] = [];
  #records = 0;

  constructor(print: ((line: string) => void) | null) {
    this.#print = print;
  }

  /** Mixes a number into the hash. */
  mix(value: number): void {
    this.hash = Math.imul(this.hash ^ (value | 0), 0x01000193);
    this.hash ^= this.hash >>> 15;
  }

  /** Somebody did or heard something. It is described only when the line is read: the value must not change later. */
  record<T>(time: number, name: string, value: T, describe: (value: T) => string): void {
    const slot = this.#records % KEPT;
    this.#times[slot] = time;
    this.#names[slot] = name;
    this.#values[slot] = value;
    this.#describes[slot] = describe;
    this.#records += 1;
    if (this.#print !== null) this.#print(this.#line(slot));
  }

  fault(time: number, name: string, what: string): void {
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
    this.mix(time * 1000);
    this.record(time, "FAULT", `${name} ${what}`, asItIs);
  }

  /** The last lines, oldest first. */
  tail(lines: number): readonly string[] {
    const count = Math.min(lines, this.#records, KEPT);
    return Array.from({ length: count }, (_, index) => {
      const slot = (this.#records - count + index) % KEPT;
      return this.#line(slot);
    });
  }

  #line(slot: number): string {
    const time = ((this.#times[slot] as number) / 1000).toFixed(4).padStart(9);
    return `${time} ${this.#names[slot]} ${(this.#describes[slot] as (value: never) => string)(this.#values[slot] as never)}`;
  }
}

export function asItIs(text: string): string {
  return text;
}

/** What the simulation found to be broken. Ends the run. */
export class Violation extends Error {
  override readonly name = "Violation";
}
