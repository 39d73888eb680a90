// Owns what is shown of a failed program's output.

/** Lines that go into an error: the last ones name the cause. */
const ERROR_LINES = 5;

export function lastLines(text: string): string {
  return text.trim().split("\n").slice(-ERROR_LINES).join(" | ");
}
