// Owns `ctl dsn`: a connection string for one member, or with --all one for the whole cluster that finds its way itself.

import { type Command, Option } from "commander";
import type { MemberView } from "../../../core/cluster-view.ts";
import { tagEnabled } from "../../../model/member.ts";
import { EXIT } from "../../../runtime/exit-codes.ts";
import type { ReadCluster } from "../context.ts";
import { hasRole, leaderFirst, ROLES, type RoleChoice } from "../member-choice.ts";
import type { CommandHost } from "../program.ts";
import { CtlRefusal, usageRefusal } from "../refusal.ts";

export interface DsnFlags {
  readonly role?: RoleChoice;
  readonly member?: string;
  readonly all?: true;
}

export function addDsn({ command, run }: CommandHost): void {
  command("dsn [cluster]", "print a connection string: of the leader, of another member, or of all")
    .addOption(new Option("-r, --role <role>", "of a member with this role").choices(ROLES))
    .option("-m, --member <name>", "of this member")
    .option("-a, --all", "of all members: finds the primary (with -r replica a standby) by itself")
    .action((cluster: string | undefined, flags: DsnFlags, self: Command) =>
      run(self, async (context) => {
        const read = await context.read(context.scopeOf(cluster));
        context.terminal.out(`${connectionString(read, flags)}\n`);
        return EXIT.ok;
      }),
    );
}

/** libpq's key=value form. Throws CtlRefusal: nobody fits, or the flags contradict each other. */
export function connectionString(read: ReadCluster, flags: DsnFlags): string {
  if (flags.role !== undefined && flags.member !== undefined) throw usageRefusal("--role and --member are mutually exclusive options");
  if (flags.all) return stringForAll(read, flags);
  const { host, port } = findMember(read, flags);
  return `host=${quote(host)} port=${port}`;
}

/** The member asked for, with its address; the leader where nothing is asked. Throws CtlRefusal. */
export function findMember(read: ReadCluster, flags: Pick<DsnFlags, "role" | "member">): Address & { readonly member: MemberView } {
  const fits = (member: MemberView): boolean =>
    flags.member === undefined ? hasRole(member, flags.role ?? "leader") : member.name === flags.member;
  for (const member of leaderFirst(read.view.members).filter(fits)) {
    const [address] = addresses([member]);
    if (address !== undefined) return { ...address, member };
  }
  throw new CtlRefusal("Can not find a suitable member");
}

interface Address {
  readonly host: string;
  readonly port: number;
}

/** All members, those first that are most likely right: the less there is to try, the faster the connection. */
function stringForAll(read: ReadCluster, flags: DsnFlags): string {
  if (flags.member !== undefined) throw usageRefusal("--all and --member are mutually exclusive options");
  if (flags.role === "standby-leader") throw usageRefusal("no connection option finds a standby leader; leave out --all");
  const members = leaderFirst(read.view.members);
  const [ordered, attributes] = orderFor(members, flags.role ?? "leader");
  const found = addresses(ordered);
  if (found.length === 0) throw new CtlRefusal("Can not find a suitable member");
  const hosts = found.map(({ host }) => quote(host)).join(",");
  const ports = found.map(({ port }) => port).join(",");
  return `host=${hosts} port=${ports} target_session_attrs=${attributes}`;
}

/** Source: PostgreSQL's manual, "Parameter Key Words", target_session_attrs (prefer-standby from version 14 on). */
function orderFor(members: readonly MemberView[], role: Exclude<RoleChoice, "standby-leader">): readonly [readonly MemberView[], string] {
  switch (role) {
    case "leader":
    case "primary":
      return [members, "read-write"];
    case "replica":
    case "standby": {
      const leaders = members.filter((member) => hasRole(member, "leader"));
      const standbys = members.filter((member) => !hasRole(member, "leader") && !tagEnabled(member.tags ?? {}, "noloadbalance"));
      return [[...standbys, ...leaders], "prefer-standby"];
    }
    case "any":
      return [members, "any"];
  }
}

function addresses(members: readonly MemberView[]): readonly Address[] {
  return members.flatMap(({ host, port }) => (host === undefined ? [] : [{ host, port: port ?? 5432 }]));
}

/** Host names need no quotes; whatever else a member published must not become another option. */
function quote(host: string): string {
  return /^[\w.:%/-]+$/.test(host) ? host : `'${host.replace(/[\\']/g, "\\$&")}'`;
}
