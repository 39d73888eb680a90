// Owns the log: levels, the plain and JSON forms, the repeat of heartbeat lines, and reloading. Where lines go is
// log-sink.ts. Must never throw, wait for a reader, or end the process: a full disk costs lines, which are counted.

import type { Log } from "../model/log.ts";
import type { LogConfig } from "../model/node-config.ts";
import { createFormatter, type Formatter } from "./log-format.ts";
import { createSink, type LogSink, type SinkOptions } from "./log-sink.ts";

export const LOG_LEVELS = { DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40, CRITICAL: 50 } as const;
export type LogLevel = keyof typeof LOG_LEVELS;

/** The log of a part. */
export interface PartLog extends Log {
  /** The line of one HA cycle at level INFO; a repeat is left out where deduplicate_heartbeat_logs is set. */
  heartbeat(message: string, event?: string | null): void;
}

export interface NodeLog extends PartLog {
  /** What happened, as a line of its own in JSON; the plain form has told it in its own words. */
  event(message: string, event: string): void;
  /** A part of the product under its own name, which `log.loggers` may give a level of its own. */
  named(name: string): PartLog;
  /** Takes a new `log` section. A folder that cannot be written is reported in the log, which then goes on as before. */
  reconfigure(config: LogConfig): void;
  /** Lines that were lost: the disk was full, stderr closed, or its reader too slow. */
  lost(): number;
  close(): void;
}

export interface LogOptions extends SinkOptions {
  /** Name in `%(name)s`. */
  readonly name?: string;
}

export function createLog(config: LogConfig, options: LogOptions = {}): NodeLog {
  return new ConfiguredLog(config, options);
}

class ConfiguredLog implements NodeLog {
  readonly #options: LogOptions;
  readonly #name: string;
  #config: LogConfig;
  #format: Formatter;
  #sink: LogSink;
  #lastHeartbeat: string | null = null;
  #lostBefore = 0;
  #lostReported = 0;

  constructor(config: LogConfig, options: LogOptions) {
    this.#options = options;
    this.#name = options.name ?? "matriarch";
    this.#config = config;
    this.#format = createFormatter(config);
    const opened = createSink(config, options);
    this.#sink = opened.sink;
    if (opened.fault !== null) this.warning(opened.fault);
  }

  debug(message: string): void {
    this.#write("DEBUG", message, this.#name);
  }
  info(message: string, event: string | null = null): void {
    this.#write("INFO", message, this.#name, event);
  }
  warning(message: string): void {
    this.#write("WARNING", message, this.#name);
  }
  error(message: string): void {
    this.#write("ERROR", message, this.#name);
  }
  critical(message: string, event: string | null = null): void {
    this.#write("CRITICAL", message, this.#name, event);
  }

  debugs(): boolean {
    return this.#keeps("DEBUG", this.#name);
  }

  event(message: string, event: string): void {
    if (this.#config.type === "json") this.#write("INFO", message, this.#name, event);
  }

  heartbeat(message: string, event: string | null = null): void {
    this.#beat(message, this.#name, event);
  }

  named(part: string): PartLog {
    const name = `${this.#name}.${part}`;
    return {
      heartbeat: (message, event) => this.#beat(message, name, event ?? null),
      debug: (message) => this.#write("DEBUG", message, name),
      info: (message, event) => this.#write("INFO", message, name, event ?? null),
      warning: (message) => this.#write("WARNING", message, name),
      error: (message) => this.#write("ERROR", message, name),
      critical: (message, event) => this.#write("CRITICAL", message, name, event ?? null),
      debugs: () => this.#keeps("DEBUG", name),
    };
  }

  reconfigure(config: LogConfig): void {
    const before = this.#config;
    this.#config = config;
    this.#format = createFormatter(config);
    const sameSink =
      before.dir === config.dir &&
      before.fileNum === config.fileNum &&
      before.fileSizeBytes === config.fileSizeBytes &&
      before.mode === config.mode;
    if (sameSink) return;
    const opened = createSink(config, this.#options);
    if (opened.fault !== null && config.dir !== null) {
      opened.sink.close();
      this.warning(opened.fault);
      return;
    }
    this.#lostBefore += this.#sink.lost();
    this.#sink.close();
    this.#sink = opened.sink;
    // Whoever opens the new file finds there what the node does.
    this.#lastHeartbeat = null;
  }

  lost(): number {
    return this.#lostBefore + this.#sink.lost();
  }

  close(): void {
    this.#sink.close();
  }

  #beat(message: string, name: string, event: string | null): void {
    if (this.#config.deduplicateHeartbeatLogs && message === this.#lastHeartbeat) return;
    this.#lastHeartbeat = message;
    this.#write("INFO", message, name, event);
  }

  #write(level: LogLevel, message: string, name: string, event: string | null = null): void {
    if (!this.#keeps(level, name)) return;
    const flows = this.#sink.write(this.#format({ level, name, message, epochMs: Date.now(), event }));
    const lost = this.lost();
    if (!flows || lost === this.#lostReported) return;
    this.#lostReported = lost;
    this.#sink.write(this.#format({ level: "WARNING", name, message: `log lines lost so far: ${lost}`, epochMs: Date.now() }));
  }

  #keeps(level: LogLevel, name: string): boolean {
    return LOG_LEVELS[level] >= this.#threshold(name);
  }

  /** The level of the longest configured name that this one begins with; `patroni.x` names ours `x` as well. */
  #threshold(name: string): number {
    let best = "";
    let level: string = this.#config.level;
    for (const [logger, wanted] of Object.entries(this.#config.loggers)) {
      const own = logger.replace(/^patroni(?=\.|$)/, this.#name);
      if ((name === own || name.startsWith(`${own}.`)) && own.length > best.length) {
        best = own;
        level = wanted;
      }
    }
    return isLevel(level) ? LOG_LEVELS[level] : LOG_LEVELS.INFO;
  }
}

function isLevel(text: string): text is LogLevel {
  return Object.hasOwn(LOG_LEVELS, text);
}
