// Owns the quoting of values and names in SQL text, for statements that take no parameters. Pure.

/** A string literal; also one on a single line where the text has line breaks. */
export function literal(text: string): string {
  if (!/[\\\n\r]/.test(text)) return `'${text.replace(/'/g, "''")}'`;
  const escaped = text.replace(/\\/g, "\\\\").replace(/'/g, "''").replace(/\n/g, "\\n").replace(/\r/g, "\\r");
  return ` E'${escaped}'`;
}

/** A name in double quotes. */
export function identifier(name: string): string {
  return `"${name.replace(/"/g, '""')}"`;
}
