// Owns the appointments that an operator writes: `now`, or a time, which counts in the operator's own zone where it names none.

import { parseAppointment } from "../../core/appointment.ts";
import { ask } from "./prompt.ts";
import { CtlRefusal } from "./refusal.ts";
import type { CtlTerminal } from "./terminal.ts";

const HOUR_MS = 3_600_000;

/** ISO 8601 with its zone; null = now. Throws CtlRefusal where it is no time. */
export function readScheduled(text: string): string | null {
  if (text === "" || text.toLowerCase() === "now") return null;
  const direct = parseAppointment(text);
  const read = direct.kind === "no-time-zone" ? parseAppointment(`${text.trim()}${localOffset(text)}`) : direct;
  if (read.kind === "ok") return read.text;
  throw new CtlRefusal(`Unable to parse scheduled timestamp (${text}). It should be in an unambiguous format (e.g. ISO 8601)`);
}

/** Asks when, with an example an hour from now. */
export async function askScheduled(terminal: CtlTerminal, action: string): Promise<string | null> {
  const example = localMinute(new Date(terminal.clock.wallNow() + HOUR_MS));
  const blank = action === "switchover" ? " " : "";
  return readScheduled(await ask(terminal, `When should the ${action} take place (e.g. ${example}${blank}) `, "now"));
}

/** `2026-11-21 23:27:50.26872`: the local time with hundred thousandths, as it stands before an outcome. */
export function timestamp(epochMs: number): string {
  const at = new Date(epochMs);
  const fraction = String(Math.floor((epochMs % 1000) * 100)).padStart(5, "0");
  return `${localSecond(at)}.${fraction}`;
}

/** `2026-11-21 23:27:50` */
export function localSecond(at: Date): string {
  return `${localMinute(at).replace("T", " ")}:${two(at.getSeconds())}`;
}

function localMinute(at: Date): string {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** The zone of this machine at that time, summer time considered. */
function localOffset(text: string): string {
  const asUtc = parseAppointment(`${text.trim()}Z`);
  if (asUtc.kind !== "ok") return "Z";
  const wall = new Date(asUtc.epochMs);
  const local = new Date(wall.getUTCFullYear(), wall.getUTCMonth(), wall.getUTCDate(), wall.getUTCHours(), wall.getUTCMinutes());
  const minutes = -local.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
