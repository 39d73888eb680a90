// Owns the machine formats of every listing: JSON, YAML and tab-separated text, from rows that were made once. Pure.

import { Document, isCollection, visit } from "yaml";
import { formatJson } from "../../core/json-text.ts";
import { type Column, drawTable } from "./table.ts";

export const FORMATS = ["pretty", "tsv", "json", "yaml", "yml"] as const;
export type Format = (typeof FORMATS)[number];

export interface Listing {
  readonly title: string | null;
  /** The name is that of the machine formats; `heading` stands over the table where it differs. */
  readonly columns: readonly (Column & { readonly heading?: string })[];
  /** Keys are column titles; a missing key is an empty cell, and is left out in JSON and YAML. */
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

/** The listing as text with its line end. */
export function formatListing(listing: Listing, format: Format, delimiter = "\t"): string {
  switch (format) {
    case "json":
      return `${formatJson(listing.rows)}\n`;
    case "yaml":
    case "yml":
      return `${yamlText(listing.rows)}\n`;
    case "tsv": {
      const titles = listing.columns.map((column) => column.title);
      const lines = listing.rows.map((row) => titles.map((title) => cellText(row[title])).join(delimiter));
      return [titles.join(delimiter), ...lines].map((line) => `${line}\n`).join("");
    }
    case "pretty": {
      const columns = listing.columns.map(({ title, align, heading }) => ({ title: heading ?? title, align }));
      const rows = listing.rows.map((row) => listing.columns.map(({ title }) => cellText(row[title])));
      return `${drawTable({ title: listing.title, columns, rows })}\n`;
    }
  }
}

/** Keys sorted, lists not indented: as it is shown, compared and edited. Ends with a line end. */
export function yamlText(value: unknown): string {
  return document(value).toString({ lineWidth: 0, indentSeq: false, singleQuote: true, flowCollectionPadding: false });
}

/** One line: `{clonefrom: true}`. */
export function yamlLine(value: unknown): string {
  const made = document(value);
  visit(made, {
    Node: (_, node) => {
      if (isCollection(node)) node.flow = true;
    },
  });
  return made.toString({ lineWidth: 0, singleQuote: true, flowCollectionPadding: false, blockQuote: false }).trimEnd();
}

function document(value: unknown): Document {
  return new Document(value, { version: "1.1", sortMapEntries: true, aliasDuplicateObjects: false });
}

function cellText(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "object" ? yamlLine(value) : String(value);
}
