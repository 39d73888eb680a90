// Owns the commands of scripts/raft.ts: the members of a built-in Raft, looked at and changed by hand. Retries nothing: a
// command says what happened, and the operator decides.

import { Command, InvalidArgumentError } from "commander";
import { loadNodeConfig } from "../../config/load.ts";
import type { ClientRequest } from "../../dcs/raft/kv/client-protocol.ts";
import { clientAddresses } from "../../dcs/raft/section.ts";
import { redactUrl } from "../../dcs/redact-url.ts";
import type { ConfigFault } from "../../model/errors.ts";
import { formatHostPort, isWildcard, parseHostPort } from "../../model/host-port.ts";
import type { Log } from "../../model/log.ts";
import type { RaftConfig } from "../../model/node-config.ts";
import { type MemberId, memberId } from "../../model/raft.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import { EXIT, type ExitCode } from "../../runtime/exit-codes.ts";
import { positiveSeconds, runCommand } from "../command-line.ts";
import type { DcsTerminal } from "../dcs.ts";
import { isRaftUrl, loadRaftUrl } from "../raft-url.ts";
import { type AskedMember, askEveryone, askLeader, describeHeard, type MembersLink, statusesOf } from "./conversation.ts";
import { openMembersLink } from "./members-link.ts";
import { recover } from "./recover.ts";
import { membersText, statusText } from "./tables.ts";

/** What a run may use of its process. */
export type RaftTerminal = Omit<DcsTerminal, "signal">;

interface GlobalOptions {
  readonly config?: string;
  readonly dcs?: string;
  readonly json?: true;
  readonly timeout: number;
}

interface Run {
  readonly link: MembersLink;
  readonly addresses: readonly string[];
  readonly terminal: RaftTerminal;
  readonly json: boolean;
  /** Absolute, for what is asked from now on. */
  deadline(): Ms;
}

type Action = (run: Run) => Promise<ExitCode>;

/**
 * Runs one command; `args` without program name. Exit status: 0 done, 1 refused or failed (status: nobody leads, or too few
 * answer), 2 usage, 3 no member answers or confirms.
 */
export async function runRaft(args: readonly string[], terminal: RaftTerminal): Promise<ExitCode> {
  let status: ExitCode = EXIT.ok;
  const finish = (code: ExitCode): void => {
    status = code;
  };
  const run = (action: Action) => async () => finish(await withMembers(program.opts<GlobalOptions>(), terminal, action));
  const program = buildProgram(terminal, run, finish);
  return (await runCommand(program, args)) ?? status;
}

function buildProgram(terminal: RaftTerminal, run: (action: Action) => () => Promise<void>, finish: (code: ExitCode) => void): Command {
  const program = new Command("raft")
    .description("Look after the members of the built-in Raft.")
    .option("-c, --config <file>", "take the members from this node's configuration")
    .option("-d, --dcs <url>", "take the members from a URL, e.g. raft://127.0.0.1:5010 (default: $DCS_URL)")
    .option("--json", "print JSON instead of tables")
    .option("--timeout <seconds>", "deadline of the whole command", positiveSeconds, 30)
    .exitOverride()
    .configureOutput({ writeOut: (text) => terminal.out(text), writeErr: (text) => terminal.complain(text) });
  program.command("status").description("what each member says of itself").action(run(status));
  program.command("members").description("who belongs to the Raft, as its leader has it").action(run(members));
  program
    .command("add")
    .description("take in the member that listens at an address: it learns the log, then votes")
    .argument("<address>", "host:port, its self_addr", wholeAddress)
    .option("--replaces <id>", "in the place of this member, in one step", identity)
    .action((address: string, flags: { readonly replaces?: MemberId }) => {
      const request: ClientRequest = { kind: "add", address, replaces: flags.replaces ?? null };
      return run(change(request, `${address} belongs to the Raft now`))();
    });
  program
    .command("remove")
    .description("put out a member; what it held stays on the others")
    .argument("<member>", "its address or id", named)
    .action((member: string) => run(change({ kind: "remove", member }, `${member} belongs to the Raft no more`))());
  program
    .command("transfer")
    .description("let another member lead")
    .argument("[member]", "its address or id; otherwise the one that is furthest", named)
    .action((member: string | undefined) => run(change({ kind: "transfer", to: member ?? null }, "another member leads"))());
  program
    .command("recover")
    .description("a majority is lost for good: this node's member goes on alone, from its own disk (-c; the member must be stopped)")
    .option("--force", "do it; without it, only say what would be done")
    .action(async (flags: { readonly force?: true }) => {
      const { config, dcs } = program.opts<GlobalOptions>();
      if (dcs !== undefined) program.error("error: recover works on this node's own folder: use -c node.yml");
      finish(await recover({ config: config ?? null, mode: flags.force === true ? "force" : "look" }, terminal, complaintsOnly(terminal)));
    });
  program.command("snapshot").description("let each member write a snapshot of its state now").action(run(snapshot));
  return program;
}

async function withMembers(options: GlobalOptions, terminal: RaftTerminal, action: Action): Promise<ExitCode> {
  const config = await findSection(options, terminal);
  if (!config.ok) return config.error;
  const link = openMembersLink(config.value, { clock: terminal.clock, log: complaintsOnly(terminal) });
  if (!link.ok) return refused(terminal, [link.error], EXIT.failed);
  const end = terminal.clock.now() + seconds(options.timeout);
  try {
    return await action({
      link: link.value,
      addresses: clientAddresses(config.value),
      terminal,
      json: options.json === true,
      deadline: () => ms(end),
    });
  } finally {
    await link.value.close();
  }
}

async function findSection(options: GlobalOptions, terminal: RaftTerminal): Promise<Result<RaftConfig, ExitCode>> {
  if (options.config !== undefined && options.dcs !== undefined) {
    terminal.complain("error: -c and -d exclude each other\n");
    return err(EXIT.usage);
  }
  const url = options.config === undefined ? (options.dcs ?? (terminal.env["DCS_URL"] || null)) : null;
  if (url !== null) {
    if (!isRaftUrl(url)) {
      terminal.complain("error: -d: write raft://host:port,host:port\n");
      return err(EXIT.usage);
    }
    const found = await loadRaftUrl(url, terminal.env);
    return found.ok ? found : err(refused(terminal, found.error, EXIT.usage));
  }
  const loaded = await loadNodeConfig({ path: options.config ?? null, env: terminal.env, purpose: "store" });
  if (!loaded.ok) return err(refused(terminal, loaded.error, EXIT.failed));
  const { raft } = loaded.value.config;
  return raft === null ? err(refused(terminal, [{ path: "raft", message: "this node's store is Consul" }], EXIT.failed)) : ok(raft);
}

function refused(terminal: RaftTerminal, faults: readonly ConfigFault[], status: ExitCode): ExitCode {
  for (const fault of faults) terminal.complain(`${fault.path}: ${fault.message}\n`);
  return status;
}

/** Healthy means: somebody leads, and enough voters answer. */
async function status(run: Run): Promise<ExitCode> {
  // Who does not answer a question within this is shown as silent: a person waits for the table.
  const deadline = ms(Math.min(run.deadline(), run.terminal.clock.now() + STATUS_WITHIN_MS));
  const asked = await askEveryone(run.link, run.addresses, deadline);
  run.terminal.out(run.json ? json(asked.map(statusRow)) : statusText(asked));
  const statuses = statusesOf(asked);
  if (statuses.length === 0) return EXIT.storeUnavailable;
  return statuses.some(({ role }) => role === "leader") ? EXIT.ok : EXIT.failed;
}

const STATUS_WITHIN_MS = 3_000;

function statusRow({ address, heard }: AskedMember): Readonly<Record<string, unknown>> {
  if (heard.kind === "status") return heard.status as unknown as Readonly<Record<string, unknown>>;
  return { member: { id: null, address }, state: "no answer", detail: heard.kind === "silent" ? heard.reason : heard.kind };
}

async function members(run: Run): Promise<ExitCode> {
  const first = await askLeader(run.link, { addresses: run.addresses, request: { kind: "members" }, deadline: run.deadline() });
  if (first.heard.kind !== "members") return fail(run, first);
  // Only the leader knows how far each log reaches.
  const at = first.heard.leader?.address ?? first.address;
  const heard = at === first.address ? first.heard : await run.link.ask(at, { kind: "members" }, run.deadline());
  const { members: list, leader } = heard.kind === "members" ? heard : first.heard;
  run.terminal.out(run.json ? json({ leader, members: list }) : membersText(list, leader));
  return EXIT.ok;
}

/** One change that the leader makes. `done` is what it means once it is made. */
function change(request: ClientRequest, done: string): Action {
  return async (run) => {
    const asked = await askLeader(run.link, { addresses: run.addresses, request, deadline: run.deadline() });
    if (asked.heard.kind !== "done") return fail(run, asked);
    run.terminal.out(run.json ? json({ done: true }) : `${done}\n`);
    return EXIT.ok;
  };
}

/** Each member has its own; those that do not answer are named. */
async function snapshot(run: Run): Promise<ExitCode> {
  const everyone = await askEveryone(run.link, run.addresses, run.deadline());
  const asked = await Promise.all(
    everyone.map(async ({ address }) => ({ address, heard: await run.link.ask(address, { kind: "snapshot" }, run.deadline()) })),
  );
  if (run.json) run.terminal.out(json(asked.map(({ address, heard }) => ({ address, done: heard.kind === "done" }))));
  for (const member of asked) {
    if (member.heard.kind === "done") {
      if (!run.json) run.terminal.out(`${member.address} has a new snapshot\n`);
    } else run.terminal.complain(`${member.address}: ${describeHeard(member)}\n`);
  }
  if (asked.every(({ heard }) => heard.kind === "done")) return EXIT.ok;
  return asked.some(({ heard }) => heard.kind === "done" || heard.kind === "refused") ? EXIT.failed : EXIT.storeUnavailable;
}

function fail(run: Run, asked: AskedMember): ExitCode {
  run.terminal.complain(`${describeHeard(asked)}\n`);
  return asked.heard.kind === "refused" ? EXIT.failed : EXIT.storeUnavailable;
}

function complaintsOnly(terminal: RaftTerminal): Log {
  const complain = (message: string): void => terminal.complain(`${redactUrl(message)}\n`);
  return { debug: () => {}, info: () => {}, warning: complain, error: complain, critical: complain };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function wholeAddress(text: string): string {
  const address = parseHostPort(text);
  if (address === undefined || isWildcard(address.host)) throw new InvalidArgumentError("write an address, host:port");
  return formatHostPort(address);
}

/** An id as it is; an address as the members write it. */
function named(text: string): string {
  return memberId(text) ?? wholeAddress(text);
}

function identity(text: string): MemberId {
  const id = memberId(text);
  if (id === null) throw new InvalidArgumentError("write a member's id: 32 hexadecimal digits, from raft members");
  return id;
}
