// Owns what takes the place of Bun's own module under Deno (scripts/deno/import-map.json). Nothing there asks PostgreSQL.

/** Bun's client for PostgreSQL: what needs it needs Bun. */
export class SQL {
  constructor() {
    throw new Error("PostgreSQL is asked by Bun's client: this needs Bun");
  }
}
