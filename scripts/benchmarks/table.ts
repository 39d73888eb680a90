// Owns how results are shown: a table in Markdown, the median with its range, and the ratio where two systems were measured.

import type { OwnRow, Row } from "./rows.ts";

/** `row → system → samples`; a text says why there are none. */
export type Results = ReadonlyMap<string, ReadonlyMap<string, readonly number[] | string>>;

export function table(
  rows: readonly (Row | OwnRow)[],
  systems: readonly { readonly name: string; readonly version: string }[],
  results: Results,
): string {
  const both = systems.length > 1;
  const head = ["what", "reach", ...systems.map(({ name, version }) => `${name} ${version}`), ...(both ? ["ratio"] : [])];
  const lines = rows.map((row) => {
    const found = results.get(row.id);
    const cells = systems.map(({ name }) => cell(found?.get(name), row.unit));
    return [row.title, row.reach, ...cells, ...(both ? [ratio(systems.map(({ name }) => found?.get(name)))] : [])];
  });
  return [head, head.map(() => "---"), ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** The part is from 0 to 1. */
export function percentile(samples: readonly number[], part: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

function cell(samples: readonly number[] | string | undefined, unit: string): string {
  if (samples === undefined) return "–";
  if (typeof samples === "string") return `failed: ${samples.split("\n")[0]}`;
  const range = samples.length === 1 ? "" : `, ${short(Math.min(...samples))}–${short(Math.max(...samples))}`;
  return `**${short(median(samples))}** ${unit} (n=${samples.length}${range})`;
}

function ratio(found: readonly (readonly number[] | string | undefined)[]): string {
  const [ours, other] = found;
  if (!Array.isArray(ours) || !Array.isArray(other) || median(other) === 0) return "–";
  return short(median(ours) / median(other));
}

/** Three digits that count. */
export function short(value: number): string {
  if (value === 0 || Math.abs(value) >= 100) return value.toFixed(0);
  return Number(value.toPrecision(3)).toString();
}
