// Owns a log that keeps its lines, so that a test can look at what was said.

import type { Log } from "../../lib/model/log.ts";

export interface RecordingLog extends Log {
  /** `LEVEL: text`, oldest first. */
  readonly lines: readonly string[];
}

export function recordingLog(): RecordingLog {
  const lines: string[] = [];
  const at = (level: string) => (message: string) => void lines.push(`${level}: ${message}`);
  return {
    lines,
    debug: at("DEBUG"),
    info: at("INFO"),
    warning: at("WARNING"),
    error: at("ERROR"),
    critical: at("CRITICAL"),
  };
}
