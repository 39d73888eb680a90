// Owns the splitting of a configured command into words, as a POSIX shell splits them. It expands nothing: no variables, no globs.

/** Words of the command; null where a quote is not closed. `a 'b c' "d \" e" f\ g` → [a, b c, d " e, f g]. */
export function shellWords(command: string): readonly string[] | null {
  const words: string[] = [];
  let word: string | null = null;
  let quote: "'" | '"' | null = null;
  for (let index = 0; index < command.length; index += 1) {
    const character = command.charAt(index);
    if (quote === "'") {
      if (character === "'") quote = null;
      else word += character;
    } else if (character === "\\" && index + 1 < command.length) {
      const next = command.charAt(index + 1);
      // Inside double quotes a backslash is an escape only before these.
      const escapes = quote === null || next === '"' || next === "\\";
      word = (word ?? "") + (escapes ? next : character + next);
      index += 1;
    } else if (quote === '"') {
      if (character === '"') quote = null;
      else word += character;
    } else if (character === "'" || character === '"') {
      quote = character;
      word ??= "";
    } else if (/\s/.test(character)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word ?? "") + character;
    }
  }
  if (quote !== null) return null;
  if (word !== null) words.push(word);
  return words;
}
