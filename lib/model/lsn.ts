// Owns the text form of WAL positions ("0/5000060").

import { type Lsn, lsn } from "./units.ts";

/** Parses `X/Y` (hexadecimal halves, 32 bits each); null when the text has another form. */
export function parseLsn(text: string): Lsn | null {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match === null) return null;
  return lsn((BigInt(`0x${match[1]}`) << 32n) + BigInt(`0x${match[2]}`));
}

/** Writes the position as PostgreSQL does: upper-case hexadecimal, no padding. */
export function formatLsn(value: Lsn): string {
  return `${(value >> 32n).toString(16).toUpperCase()}/${(value & 0xffffffffn).toString(16).toUpperCase()}`;
}
