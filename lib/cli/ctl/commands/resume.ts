// Owns `ctl resume`: the end of maintenance mode.

import type { CommandHost } from "../program.ts";
import { addMaintenance } from "./pause.ts";

export function addResume(host: CommandHost): void {
  addMaintenance(host, { name: "resume", description: "resume automatic failover", waits: "wait until all members have seen it" });
}
