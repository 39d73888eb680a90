// Owns keeping a promise of failsafe mode on disk: who has answered a primary's heartbeat and starts anew must still not race.

import { join } from "node:path";
import * as v from "valibot";
import type { Clock } from "../model/clock.ts";
import type { FailsafePromise } from "../model/failsafe.ts";
import type { Log } from "../model/log.ts";
import { ms } from "../model/units.ts";
import { bootId } from "./lease-file.ts";
import type { PromiseKeeper } from "./node-context.ts";
import { stateDir } from "./run-lock.ts";
import { readTwinFile, TwinFile } from "./twin-file.ts";

const PromiseSchema = v.object({
  leader: v.string(),
  /** On the boot-time clock, in ms. */
  until: v.number(),
  /** How long it was given for. */
  lengthMs: v.number(),
  bootId: v.string(),
});

export class DiskPromiseKeeper implements PromiseKeeper {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #former: FailsafePromise | null;
  #file: TwinFile<v.InferOutput<typeof PromiseSchema>> | null = null;

  constructor(options: { readonly dataDir: string; readonly clock: Clock; readonly log: Log }) {
    this.#path = join(stateDir(options.dataDir), "promise");
    this.#clock = options.clock;
    this.#log = options.log;
    this.#former = this.#read();
  }

  former(): FailsafePromise | null {
    return this.#former;
  }

  /** The file is made with the first promise: most nodes never give one. */
  save(promise: FailsafePromise): boolean {
    if (this.#file === null) {
      const opened = TwinFile.open(this.#path, PromiseSchema);
      if (!opened.ok) return this.#failed(opened.error);
      this.#file = opened.value;
    }
    const lengthMs = promise.until - this.#clock.now();
    // A machine that dies in this moment may be back before the primary's lease is over.
    const written = this.#file.writeDurably({ leader: promise.leader, until: promise.until, lengthMs, bootId: bootId() });
    return written.ok || this.#failed(written.error);
  }

  #failed(error: { readonly path: string; readonly message: string }): false {
    this.#log.error(`${error.path}: ${error.message}`);
    return false;
  }

  /** How long the machine was down nobody knows: after a boot the whole length counts again. */
  #read(): FailsafePromise | null {
    const record = readTwinFile(this.#path, PromiseSchema);
    if (record === null) return null;
    const until = record.bootId === bootId() ? record.until : this.#clock.now() + record.lengthMs;
    return { leader: record.leader, until: ms(until) };
  }
}
