// Owns how a test gives a program a terminal of its own (util-linux's script).

/**
 * The command that runs `words` on a terminal and ends with their status. The words replace the shell in between: a shell that stays
 * hears Ctrl-C as well, and where it is dash (SHELL unset) ends with 130 whatever its child says.
 */
export function onOwnTerminal(words: readonly string[]): string[] {
  return ["script", "-qec", `exec ${words.map((word) => `'${word}'`).join(" ")}`, "/dev/null"];
}
