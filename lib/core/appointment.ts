// Owns the reading of an operator's appointment (scheduled switchover, scheduled restart): ISO 8601 with a time zone, and how late it may
// be kept. Knows no clock: whether it lies in the past is for the caller, who has one.

/** As with Patroni: one cycle may miss it, and the next one is to keep it. */
const LATE_LOOPS = 1.5;
/** A short loop_wait does not make an appointment stale because a busy machine was a second late for it. */
const LATE_MIN_MS = 5_000;

/** Nobody has kept the appointment for so long that it is not what was agreed upon any more. Both in ms. */
export function isStale(lateMs: number, loopWaitMs: number): boolean {
  return lateMs > Math.max(LATE_LOOPS * loopWaitMs, LATE_MIN_MS);
}

export type Appointment =
  /** `text`: normalised as written into the DCS, `2026-01-01T12:00:00+02:00`. */
  | { readonly kind: "ok"; readonly epochMs: number; readonly text: string }
  | { readonly kind: "no-time-zone" }
  | { readonly kind: "unreadable" };

const ISO =
  /^(\d{4})-?(\d{2})-?(\d{2})(?:[T ](\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9}))?)?)?)?\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$/;

/** Reads `2026-01-01T12:00+00`, `2026-01-01 12:00:00.5 +02:00`, `20260101T120000Z` and their like. */
export function parseAppointment(text: string): Appointment {
  const match = ISO.exec(text.trim());
  if (match === null) return { kind: "unreadable" };
  const [, year, month, day, hour = "00", minute = "00", second = "00", fraction = "", zone] = match;
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
  const offset = zone === undefined ? null : normaliseZone(zone);
  const base = Date.parse(`${local}${offset ?? "+00:00"}`);
  // Date.parse rolls 31 February over into March: a date that does not exist is no appointment.
  if (Number.isNaN(base) || new Date(Date.parse(`${local}Z`)).toISOString().slice(0, 10) !== `${year}-${month}-${day}`) {
    return { kind: "unreadable" };
  }
  if (offset === null) return { kind: "no-time-zone" };
  const micros = fraction === "" ? "" : fraction.slice(0, 6).padEnd(6, "0");
  const epochMs = base + (micros === "" ? 0 : Number(micros) / 1000);
  return { kind: "ok", epochMs, text: `${local}${micros === "" ? "" : `.${micros}`}${offset}` };
}

function normaliseZone(zone: string): string {
  if (!/^[+-]/.test(zone)) return "+00:00";
  const digits = zone.slice(1).replace(":", "");
  return `${zone[0]}${digits.slice(0, 2)}:${digits.slice(2, 4) || "00"}`;
}
