// Owns `ctl query`: SQL on a member that is chosen by role or name.

import { type Command, Option } from "commander";
import { seconds } from "../../../model/units.ts";
import { Connection, type Row } from "../../../postgres/connection.ts";
import type { ExitCode } from "../../../runtime/exit-codes.ts";
import { positiveSeconds } from "../../command-line.ts";
import type { CtlContext } from "../context.ts";
import { FORMATS, type Format, formatListing } from "../formats.ts";
import { repeatedly, type WatchFlags } from "../live-view.ts";
import { ROLES, type RoleChoice } from "../member-choice.ts";
import type { CommandHost } from "../program.ts";
import { askPlain } from "../prompt.ts";
import { CtlRefusal, usageRefusal } from "../refusal.ts";
import { findMember } from "./dsn.ts";

interface QueryFlags extends WatchFlags {
  readonly role?: RoleChoice;
  readonly member?: string;
  readonly dbname?: string;
  readonly username?: string;
  readonly password?: true;
  readonly format: Format;
  readonly file?: string;
  readonly command?: string;
  readonly delimiter: string;
}

/** Longer statements are for psql. */
const ANSWERS_WITHIN = seconds(3600);

export function addQuery({ command, run }: CommandHost): void {
  command("query [cluster]", "run SQL on a member")
    .addOption(new Option("-r, --role <role>", "on a member with this role").choices(ROLES))
    .option("-m, --member <name>", "on this member")
    .option("-d, --dbname <name>", "database (default: the user's name)")
    .option("-U, --username <name>", "database user (default: yours)")
    .option("--password", "ask for the password (else $PGPASSWORD counts)")
    .addOption(new Option("--format <format>", "output format").choices(FORMATS).default("tsv"))
    .option("-f, --file <file>", "take the SQL from this file")
    .option("-c, --command <sql>", "the SQL")
    .option("--delimiter <text>", "between columns of tsv", "\t")
    .option("-W", "run it again every 2 seconds")
    .option("-w, --watch <seconds>", "run it again after so many seconds", positiveSeconds)
    .action((cluster: string | undefined, flags: QueryFlags, self: Command) =>
      run(self, async (context) => {
        if (flags.role !== undefined && flags.member !== undefined)
          throw usageRefusal("--role and --member are mutually exclusive options");
        if (flags.command !== undefined && flags.file !== undefined)
          throw usageRefusal("--command and --file are mutually exclusive options");
        const sql = flags.command ?? (flags.file === undefined ? null : await readFile(flags.file));
        if (sql === null) throw usageRefusal("You need to specify either --command or --file");
        return query(context, { scope: context.scopeOf(cluster), sql, flags });
      }),
    );
}

async function query(
  context: CtlContext,
  { scope, sql, flags }: { readonly scope: string; readonly sql: string; readonly flags: QueryFlags },
): Promise<ExitCode> {
  const { terminal } = context;
  const username = flags.username ?? terminal.env["PGUSER"] ?? terminal.env["USER"] ?? "postgres";
  const password = flags.password ? await askPlain(terminal, "Password", "hidden") : (terminal.env["PGPASSWORD"] ?? null);
  return repeatedly(context, flags, async () => {
    const { host, port } = findMember(await context.read(scope), flags);
    const connection = new Connection({
      clock: terminal.clock,
      settings: {},
      endpoint: async () => ({
        at: { kind: "tcp", host },
        port,
        user: { username, password, options: sslOptions(terminal.env) },
        database: flags.dbname ?? terminal.env["PGDATABASE"] ?? username,
      }),
    });
    try {
      const answer = await connection.query(sql, [], context.within(ANSWERS_WITHIN));
      if (!answer.ok) throw new CtlRefusal(answer.error.message);
      return { text: rowsText(answer.value, flags), cluster: null };
    } finally {
      await connection.close();
    }
  });
}

function rowsText(rows: readonly Row[], flags: QueryFlags): string {
  const [first] = rows;
  if (first === undefined) return "";
  const columns = Object.keys(first).map((title) => ({
    title,
    align: typeof first[title] === "number" ? ("right" as const) : ("left" as const),
  }));
  return formatListing({ title: null, columns, rows: rows.map(plainRow) }, flags.format, flags.delimiter);
}

function plainRow(row: Row): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value instanceof Date ? value.toISOString() : value]));
}

function sslOptions(env: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  const mode = env["PGSSLMODE"];
  return mode === undefined || mode === "" ? {} : { sslmode: mode };
}

async function readFile(path: string): Promise<string> {
  try {
    return await Bun.file(path).text();
  } catch (error) {
    throw new CtlRefusal(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}
