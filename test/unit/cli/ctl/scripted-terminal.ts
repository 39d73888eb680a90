// Owns a terminal for tests: what is said to it is kept, its answers are given beforehand.

import type { CtlTerminal } from "../../../../lib/cli/ctl/terminal.ts";
import { realClock } from "../../../../lib/runtime/clock.ts";

export interface ScriptedTerminal extends CtlTerminal {
  readonly said: { out: string; complaints: string };
}

/** `input`: the lines of standard input; after them it ends. */
export function scriptedTerminal(
  options: { readonly input?: readonly string[]; readonly env?: Readonly<Record<string, string>> } = {},
): ScriptedTerminal {
  const said = { out: "", complaints: "" };
  const lines = [...(options.input ?? [])];
  return {
    said,
    clock: realClock(),
    env: { HOME: "/nonexistent", XDG_STATE_HOME: "/nonexistent", ...options.env },
    outIsTerminal: false,
    signal: new AbortController().signal,
    out: (text) => {
      said.out += text;
    },
    complain: (text) => {
      said.complaints += text;
    },
    readLine: async () => lines.shift() ?? null,
    readAll: async () => lines.splice(0).join("\n"),
  };
}
