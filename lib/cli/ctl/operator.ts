// Owns who is written down as the author of a change.

import { hostname } from "node:os";
import type { CtlTerminal } from "./terminal.ts";

/** `user@host`, as the operator's machine knows it. */
export function operatorOf(env: CtlTerminal["env"]): string {
  return `${env["SUDO_USER"] || env["USER"] || env["LOGNAME"] || "unknown"}@${hostname()}`;
}
