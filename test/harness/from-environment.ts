// Owns the reading of what an environment asks of the tests. A value that is none ends the file: a test that takes it for nothing (a loop
// of NaN rounds) would pass without a look.

/** A whole number from 1 on; `byDefault` where the variable is unset or empty. Throws Error for any other text. */
export function wholeFromEnvironment(name: string, byDefault: number): number {
  const text = process.env[name] ?? "";
  if (text === "") return byDefault;
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value === 0)
    throw new Error(`${name} must be a whole number from 1 on, not "${text}"`);
  return value;
}

/** One of these words; the first where the variable is unset or empty. Throws Error for any other text. */
export function wordFromEnvironment<T extends string>(name: string, words: readonly [T, ...T[]]): T {
  const text = process.env[name] ?? "";
  const word = text === "" ? words[0] : words.find((each) => each === text);
  if (word === undefined) throw new Error(`${name} must be one of ${words.join(", ")}, not "${text}"`);
  return word;
}
