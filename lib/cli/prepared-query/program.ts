// Owns the commands of scripts/prepared-query.ts: a cluster's prepared queries in Consul, made, shown and removed. Each can be
// repeated: what is there already is left. Retries nothing.

import { Command, InvalidArgumentError } from "commander";
import { loadNodeConfig } from "../../config/load.ts";
import { ConsulHttp } from "../../dcs/consul/http.ts";
import { type FoundQuery, isAsWanted, PreparedQueries, type QueryOutcome } from "../../dcs/consul/prepared-query.ts";
import { parseConsulUrl } from "../../dcs/consul/url.ts";
import { describeStoreError, type StoreError } from "../../model/errors.ts";
import type { ConsulConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import { EXIT, type ExitCode } from "../../runtime/exit-codes.ts";
import { positiveSeconds, runCommand } from "../command-line.ts";
import type { DcsTerminal } from "../dcs.ts";
import {
  type QueryFlags,
  type QueryRole,
  queryName,
  readCount,
  readDnsTtl,
  readList,
  readRoles,
  serviceOf,
  wantedQuery,
} from "./arguments.ts";

/** What a run may use of its process. */
export type QueryTerminal = Omit<DcsTerminal, "signal">;

interface GlobalOptions extends QueryFlags {
  readonly config?: string;
  readonly dcs?: string;
  readonly in?: readonly string[];
  readonly json?: true;
  readonly timeout: number;
}

interface Run {
  readonly http: ConsulHttp;
  readonly flags: GlobalOptions;
  readonly service: string;
  readonly terminal: QueryTerminal;
  within(): { readonly deadline: Ms };
}

/** One query in one datacenter. `outcome`: what became of it, or what it is. */
interface Row {
  readonly name: string;
  readonly datacenter: string | null;
  readonly outcome: QueryOutcome["kind"] | "as wanted" | "different" | "absent" | "failed";
  readonly id: string | null;
  readonly query: FoundQuery | null;
  readonly error: string | null;
  readonly status: ExitCode;
}

type Action = (run: Run, role: QueryRole, datacenter: string | null) => Promise<Row>;

/**
 * Runs one command; `args` without program name. Exit status: 0 done (show: there as wanted), 1 absent, different or refused, 2 usage,
 * 3 Consul is out of reach or did not confirm.
 */
export async function runPreparedQuery(args: readonly string[], terminal: QueryTerminal): Promise<ExitCode> {
  let status: ExitCode = EXIT.ok;
  const run = (action: Action) => async (words: readonly string[]) => {
    const roles = rolesOf(words);
    status = await withConsul(program.opts<GlobalOptions>(), terminal, (found) => everyOne(found, roles, action));
  };
  const rolesOf = (words: readonly string[]): readonly QueryRole[] => {
    try {
      return readRoles(words);
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
      return program.error(`error: ${error.message}`);
    }
  };
  const program = buildProgram(terminal, run);
  return (await runCommand(program, args)) ?? status;
}

function buildProgram(terminal: QueryTerminal, run: (action: Action) => (words: readonly string[]) => Promise<void>): Command {
  const program = new Command("prepared-query")
    .description("A cluster's prepared queries in Consul: NAME-writer.query.consul and NAME-reader.query.consul.")
    .option("-c, --config <file>", "take Consul and the service's name (from the scope) from this node's configuration")
    .option("-d, --dcs <url>", "take Consul from a URL, e.g. consul://127.0.0.1:8500 (default: $DCS_URL)")
    .option("--service <name>", "the registered service")
    .option("--prefix <name>", "NAME of the queries (default: the service's)")
    .option("--near <where>", "whom the answer begins with: _agent, _ip, a node's name; none: any", "_agent")
    .option("--nearest <count>", "where nobody is in the own datacenter: ask so many of the nearest others", readCount, 0)
    .option("--datacenters <list>", "then these, in this order, separated by commas", readList)
    .option("--dns-ttl <duration>", "how long resolvers may keep the answer", readDnsTtl, "0s")
    .option("--writer-tags <list>", "tags of whom the writer's query answers with (default: primary)", readList)
    .option("--reader-tags <list>", "the same of the reader's (default: replica)", readList)
    .option("--in <list>", "the datacenters that are to have the queries (default: the agent's own)", readList)
    .option("--json", "print JSON")
    .option("--timeout <seconds>", "deadline of each request", positiveSeconds, 10)
    .exitOverride()
    .configureOutput({ writeOut: (text) => terminal.out(text), writeErr: (text) => terminal.complain(text) });
  const queries = "[queries...]";
  program
    .command(`create ${queries}`)
    .description("make what is not there, and bring the rest in step")
    .action(run(bring("create")));
  program
    .command(`update ${queries}`)
    .description("bring in step what is there")
    .action(run(bring("refuse")));
  program.command(`show ${queries}`).description("show them; status 1 where one is absent or different").action(run(show));
  program.command(`remove ${queries}`).description("remove what is there").action(run(remove));
  return program;
}

async function everyOne(run: Run, roles: readonly QueryRole[], action: Action): Promise<ExitCode> {
  const rows: Row[] = [];
  for (const datacenter of run.flags.in ?? [null]) for (const role of roles) rows.push(await action(run, role, datacenter));
  if (run.flags.json === true)
    run.terminal.out(
      `${JSON.stringify(
        rows.map(({ status: _, ...row }) => row),
        null,
        2,
      )}\n`,
    );
  else for (const row of rows) print(row, run.terminal);
  return Math.max(EXIT.ok, ...rows.map((row) => row.status)) as ExitCode;
}

function print(row: Row, terminal: QueryTerminal): void {
  const place = row.datacenter === null ? "" : ` in ${row.datacenter}`;
  if (row.error !== null) terminal.complain(`${row.name}${place}: ${row.error}\n`);
  else terminal.out(`${row.name}${place}: ${row.outcome}${row.query === null ? "" : `; ${describe(row.query)}`}\n`);
}

function describe({ Service, DNS }: FoundQuery): string {
  const { NearestN, Datacenters } = Service.Failover;
  const elsewhere = [...(NearestN > 0 ? [`the ${NearestN} nearest`] : []), ...(Datacenters ?? [])];
  return [
    `service ${Service.Service}`,
    `tags ${(Service.Tags ?? []).join(", ") || "any"}`,
    Service.OnlyPassing ? "passing" : "passing or in warning",
    `near ${Service.Near || "anywhere"}`,
    `then ${elsewhere.join(", ") || "nobody"}`,
    `DNS TTL ${DNS.TTL || "Consul's"}`,
  ].join("; ");
}

function bring(absent: "create" | "refuse"): Action {
  return async (run, role, datacenter) => {
    const wanted = wantedQuery(role, run.flags, run.service);
    const queries = new PreparedQueries(run.http, datacenter);
    const row = { name: wanted.name, datacenter };
    const done = await queries.bring(wanted, { ...run.within(), absent });
    if (!done.ok && done.error.kind === "condition-failed") return { ...row, ...ABSENT, error: "there is no such query; create makes it" };
    if (!done.ok) return { ...row, ...failure(done.error) };
    return { ...row, ...NOTHING, outcome: done.value.kind, id: done.value.id };
  };
}

const show: Action = async (run, role, datacenter) => {
  const wanted = wantedQuery(role, run.flags, run.service);
  const row = { name: wanted.name, datacenter };
  const found = await new PreparedQueries(run.http, datacenter).find(wanted.name, run.within());
  if (!found.ok) return { ...row, ...failure(found.error) };
  if (found.value === null) return { ...row, ...ABSENT };
  // Bound to it, perhaps: it is not for a terminal.
  const { Token: _, ...query } = { ...found.value };
  const like = isAsWanted(found.value, wanted);
  return {
    ...row,
    ...NOTHING,
    outcome: like ? "as wanted" : "different",
    id: query.ID,
    query: { ...query, Token: "" },
    status: like ? EXIT.ok : EXIT.failed,
  };
};

const remove: Action = async (run, role, datacenter) => {
  const name = queryName(role, run.flags, run.service);
  const done = await new PreparedQueries(run.http, datacenter).remove(name, run.within());
  if (!done.ok) return { name, datacenter, ...failure(done.error) };
  if (done.value === null) return { name, datacenter, ...ABSENT, status: EXIT.ok };
  return { name, datacenter, ...NOTHING, outcome: done.value.kind, id: done.value.id };
};

const NOTHING = { id: null, query: null, error: null, status: EXIT.ok } as const;
const ABSENT = { ...NOTHING, outcome: "absent", status: EXIT.failed } as const;

function failure(error: StoreError): Omit<Row, "name" | "datacenter"> {
  const status = error.kind === "unavailable" || error.kind === "unknown-outcome" ? EXIT.storeUnavailable : EXIT.failed;
  return { ...NOTHING, outcome: "failed", error: describeStoreError(error), status };
}

async function withConsul(flags: GlobalOptions, terminal: QueryTerminal, action: (run: Run) => Promise<ExitCode>): Promise<ExitCode> {
  const source = await findConsul(flags, terminal);
  if (!source.ok) return source.error;
  const { config, scope } = source.value;
  const service = serviceOf(flags, scope);
  if (service === null) {
    terminal.complain("error: which service? Write --service NAME, or -c node.yml\n");
    return EXIT.usage;
  }
  let http: ConsulHttp;
  try {
    http = new ConsulHttp(config, terminal.clock);
  } catch (error) {
    terminal.complain(`${error instanceof Error ? error.message : String(error)}\n`);
    return EXIT.failed;
  }
  const within = () => ({ deadline: ms(terminal.clock.now() + seconds(flags.timeout)) });
  try {
    return await action({ http, flags: flags.near === "none" ? { ...flags, near: "" } : flags, service, terminal, within });
  } finally {
    await http.close();
  }
}

async function findConsul(
  { config, dcs }: GlobalOptions,
  terminal: QueryTerminal,
): Promise<Result<{ readonly config: ConsulConfig; readonly scope: string | null }, ExitCode>> {
  if (config !== undefined && dcs !== undefined) {
    terminal.complain("error: -c and -d exclude each other\n");
    return err(EXIT.usage);
  }
  const url = config === undefined ? (dcs ?? (terminal.env["DCS_URL"] || null)) : null;
  if (url !== null) {
    const parsed = parseConsulUrl(url);
    if (parsed.ok) return ok({ config: parsed.value, scope: null });
    terminal.complain(`error: -d: ${parsed.error.path}: ${parsed.error.message}\n`);
    return err(EXIT.usage);
  }
  const loaded = await loadNodeConfig({ path: config ?? null, env: terminal.env, purpose: "store" });
  if (!loaded.ok) {
    for (const fault of loaded.error) terminal.complain(`${fault.path}: ${fault.message}\n`);
    return err(EXIT.failed);
  }
  const { consul, scope } = loaded.value.config;
  if (consul !== null) return ok({ config: consul, scope });
  terminal.complain("consul: this node's store is not Consul; name one: -d consul://host:port --service NAME\n");
  return err(EXIT.failed);
}
