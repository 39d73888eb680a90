// Owns what is shown of a program's output: the end of a failed one's, and progress in steps.

import type { CopyProgress } from "../model/postgres.ts";

/** Lines that go into an error: the last ones name the cause. */
const ERROR_LINES = 5;

export function lastLines(text: string): string {
  return text.trim().split("\n").slice(-ERROR_LINES).join(" | ");
}

/** What went wrong, and the program's own words where it said any. */
export function withReason(what: string, reason: string): string {
  return reason === "" ? what : `${what}: ${reason}`;
}

/** A line of progress each so many percent. */
const PROGRESS_STEP_PERCENT = 10;

const BYTES_PER_KB = 1024;

/** Reads `12345/67890 kB (18%), 0/1 tablespace`; null for every other line. */
export function copyProgress(line: string): CopyProgress | null {
  const match = /(\d+)\/(\d+) kB \((\d+)%\)/.exec(line);
  if (match === null) return null;
  const [done, total, percent] = match.slice(1).map(Number) as [number, number, number];
  return { doneBytes: done * BYTES_PER_KB, totalBytes: total * BYTES_PER_KB, percent: Math.min(100, percent) };
}

/** Thins out lines such as `12345/67890 kB (18%), 0/1 tablespace` to one a step; other lines pass, without the program's name. */
export function stepProgress(progress: (text: string) => void): (line: string) => void {
  let shown = -PROGRESS_STEP_PERCENT;
  return (line) => {
    const percent = /\((\d+)%\)/.exec(line)?.[1];
    if (percent === undefined) {
      progress(line.replace(/^pg_[a-z]+: /, ""));
    } else if (Number(percent) >= shown + PROGRESS_STEP_PERCENT) {
      shown = Number(percent) - (Number(percent) % PROGRESS_STEP_PERCENT);
      progress(`copying: ${line.trim()}`);
    }
  };
}
