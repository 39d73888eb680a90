// Owns the text of PostgreSQL's timeline history files (`00000002.history`). Pure.

import type { TimelineSwitch } from "../model/history.ts";
import { parseLsn } from "../model/lsn.ts";
import { type Timeline, timeline } from "../model/units.ts";

/** One switch per line: parent timeline, position, reason, separated by white space; `#` begins a comment. Other lines are left out. Oldest first. */
export function parseTimelineHistory(text: string): readonly TimelineSwitch[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*([0-9]+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)\s*(.*)$/.exec(line);
    const switchpoint = match?.[2] === undefined ? null : parseLsn(match[2]);
    if (match === null || switchpoint === null || Number(match[1]) < 1) return [];
    return [{ timeline: timeline(Number(match[1])), switchpoint, reason: (match[3] ?? "").trim() }];
  });
}

/** Name of the file that tells the ancestors of a timeline. */
export function timelineFileName(value: Timeline): string {
  return `${value.toString(16).toUpperCase().padStart(8, "0")}.history`;
}
