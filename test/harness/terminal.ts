// Owns how a test gives a program a terminal of its own (util-linux's script).

/**
 * The command that runs `words` on a terminal and ends with their status. The words replace the shell in between: a shell that stays
 * hears Ctrl-C as well, and where it is dash ends with 130 whatever its child says. Which shell it is does not depend on the caller's.
 */
export function onOwnTerminal(words: readonly string[]): string[] {
  return ["env", "SHELL=/bin/sh", "script", "-qec", `exec ${words.map((word) => `'${word}'`).join(" ")}`, "/dev/null"];
}
