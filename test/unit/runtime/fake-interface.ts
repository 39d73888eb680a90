// Owns a fake of the kernel's network interface for tests of the address: lifetimes by the test's clock, answers of ip(8) as asked for.

import { expect } from "bun:test";
import type { VipConfig } from "../../../lib/model/node-config.ts";
import { err, ok } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import type { RunProgram } from "../../../lib/postgres/context.ts";
import type { ManualClock } from "../dcs/manual-clock.ts";

export const VIP: VipConfig = {
  address: "10.0.0.100",
  prefixLength: 24,
  interface: "eth0",
  ipCommand: "sudo -n ip",
  arpingCommand: "arping",
};

/** eth0: it has the address or not, and takes it off when its lifetime is over. */
export class Interface {
  readonly commands: string[] = [];
  /** What the next commands of ip(8) come to. */
  answer: "done" | "refused" | "missing" | "never" = "done";
  /** Somebody gave it a place of its own there. */
  otherPrefix = false;
  #until = 0;
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  get has(): boolean {
    return this.#until > this.#clock.now();
  }

  get presence(): "here" | "other-prefix" | "absent" {
    return this.has ? "here" : this.otherPrefix ? "other-prefix" : "absent";
  }

  get until(): number {
    return this.#until;
  }

  /** Somebody else's hand. */
  put(seconds: number): void {
    this.#until = this.#clock.now() + seconds * 1000;
  }

  readonly run: RunProgram = async ({ argv, signal, deadline }) => {
    this.commands.push(argv.join(" "));
    if (argv[0] === "arping") {
      await this.#clock.sleepUntil(ms(this.#clock.now() + 2000), signal);
      return ok({ exitCode: 0, stdout: "", stderr: "" });
    }
    if (argv.includes("ndptool")) return ok({ exitCode: 0, stdout: "", stderr: "" });
    if (this.answer === "never") {
      await this.#clock.sleepUntil(deadline ?? ms(0), signal);
      return err({ kind: "timeout", message: "ip did not end in time" });
    }
    if (this.answer === "missing") return err({ kind: "failed", message: "cannot start ip: not found" });
    if (this.answer === "refused") return ok({ exitCode: 2, stdout: "", stderr: "RTNETLINK answers: Operation not permitted\n" });
    if (argv.includes("del")) {
      if (!this.has) return ok({ exitCode: 2, stdout: "", stderr: "RTNETLINK answers: Cannot assign requested address\n" });
      this.#until = 0;
    } else {
      const lifetime = Number(argv[argv.indexOf("valid_lft") + 1]);
      expect(Number.isInteger(lifetime) && lifetime > 0).toBe(true);
      this.put(lifetime);
    }
    return ok({ exitCode: 0, stdout: "", stderr: "" });
  };
}
