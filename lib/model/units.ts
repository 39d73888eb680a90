// Owns the branded numbers of the domain and their constructors. Imports nothing; knows no clock.

declare const brand: unique symbol;
/** A value that cannot be taken for another of the same type. Its constructors live in this folder alone. */
export type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** A duration, or an instant of the boot-time clock, in milliseconds. */
export type Ms = Branded<number, "Ms">;
/** A WAL position: absolute bytes since the start of the log. */
export type Lsn = Branded<bigint, "Lsn">;
/** A PostgreSQL timeline; the first is 1. */
export type Timeline = Branded<number, "Timeline">;
/** A store's revision: grows with each change; 0 means "before anything". */
export type Revision = Branded<number, "Revision">;

export function ms(value: number): Ms {
  return value as Ms;
}

export function seconds(value: number): Ms {
  return (value * 1000) as Ms;
}

/** Throws RangeError below zero. */
export function lsn(value: bigint | number): Lsn {
  const bytes = BigInt(value);
  if (bytes < 0n) throw new RangeError(`an LSN cannot be negative: ${value}`);
  return bytes as Lsn;
}

/** Throws RangeError unless a positive whole number. */
export function timeline(value: number): Timeline {
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`not a timeline: ${value}`);
  return value as Timeline;
}

export function revision(value: number): Revision {
  return value as Revision;
}
