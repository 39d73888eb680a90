// Owns the syntax of postgresql.conf: one quoted line per setting, and the reading of names out of postgresql.auto.conf. Pure.

/** `name = 'value'` with quotes, backslashes and line breaks escaped. */
export function settingLine(name: string, value: string): string {
  const quoted = value.replace(/\\/g, "\\\\").replace(/'/g, "''").replace(/\n/g, "\\n").replace(/\r/g, "\\r");
  return `${name} = '${quoted}'`;
}

/** Removes the lines that set one of `names`; everything else stays as it is, byte for byte. */
export function withoutSettings(content: string, names: ReadonlySet<string>): string {
  return content
    .split(/(?<=\n)/)
    .filter((line) => {
      const name = /^\s*([A-Za-z_][A-Za-z0-9_$.]*)/.exec(line)?.[1];
      return name === undefined || !names.has(name.toLowerCase());
    })
    .join("");
}
