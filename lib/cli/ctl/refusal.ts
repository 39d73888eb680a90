// Owns how a command ends early. An exception, because it ends the whole program from any depth: nobody above could do
// anything with it but print it.

import { EXIT, type ExitCode } from "../../runtime/exit-codes.ts";

/** Printed as `Error: message`; then the program ends. */
export class CtlRefusal extends Error {
  override readonly name = "CtlRefusal";
  readonly status: ExitCode;

  constructor(message: string, status: ExitCode = EXIT.failed) {
    super(message);
    this.status = status;
  }
}

/** The input ended, or was interrupted, where an answer was needed: printed as `Aborted!`. */
export class CtlAborted extends Error {
  override readonly name = "CtlAborted";
}

/** What was asked for contradicts itself: exit status 2. */
export function usageRefusal(message: string): CtlRefusal {
  return new CtlRefusal(message, EXIT.usage);
}
