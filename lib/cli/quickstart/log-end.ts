// Owns the last words of a server that did not do what was wanted. Reads its log, no more.

import { readFileSync } from "node:fs";

const lastLinesShown = 12;

/** A failed start removes its data, and the log with it: so the end of the log is part of what is said. */
export function endedEarly(name: string, how: string, log: string): string {
  return `${name} ended (${how}). Its log ends:\n${lastLines(log)}`;
}

export function lastLines(log: string): string {
  const lines = readFileSync(log, "utf8").trimEnd().split("\n").slice(-lastLinesShown);
  return lines.map((line) => `  ${line}`).join("\n");
}
