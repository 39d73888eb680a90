// Owns the drawing of tables in the form that patronictl's users know: a title in the upper line, columns that are as
// wide as their widest cell, cells of several lines. Pure: text in, text out.

export interface Column {
  readonly title: string;
  readonly align: "left" | "right";
}

export interface Table {
  /** Stands in the upper line; null = the line alone. It is cut where the table ends. */
  readonly title: string | null;
  readonly columns: readonly Column[];
  /** A cell may hold several lines; then every row is underlined. */
  readonly rows: readonly (readonly string[])[];
}

/** The lines of the table, without a line end after the last. */
export function drawTable({ title, columns, rows }: Table): string {
  const cells = rows.map((row) => columns.map((_, index) => (row[index] ?? "").split("\n")));
  const widths = columns.map((column, index) =>
    Math.max(Bun.stringWidth(column.title), ...cells.flatMap((row) => (row[index] ?? []).map((line) => Bun.stringWidth(line)))),
  );
  const rule = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+`;
  const draw = (texts: readonly string[]): string =>
    `| ${columns.map((column, index) => fit(texts[index] ?? "", widths[index] ?? 0, column.align)).join(" | ")} |`;
  const drawRow = (row: readonly (readonly string[])[]): string => {
    const height = Math.max(...row.map((lines) => lines.length));
    return Array.from({ length: height }, (_, line) => draw(row.map((lines) => lines[line] ?? ""))).join("\n");
  };
  const separated = cells.some((row) => row.some((lines) => lines.length > 1));
  const body = cells.flatMap((row, index) => (separated && index < cells.length - 1 ? [drawRow(row), rule] : [drawRow(row)]));
  return [topLine(rule, title), draw(columns.map((column) => column.title)), rule, ...body, rule].join("\n");
}

function topLine(rule: string, title: string | null): string {
  if (title === null) return rule;
  const shown = ` ${title} `.slice(0, rule.length - 2);
  return `+${shown}${rule.slice(1 + Bun.stringWidth(shown))}`;
}

function fit(text: string, width: number, align: Column["align"]): string {
  const padding = " ".repeat(Math.max(0, width - Bun.stringWidth(text)));
  return align === "right" ? padding + text : text + padding;
}
