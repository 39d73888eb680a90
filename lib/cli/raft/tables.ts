// Owns how the members of a Raft look to a person: tables and the lines below them. Pure.

import type { MemberStatus, RaftStatus } from "../../dcs/raft/kv/client-protocol.ts";
import type { RaftMember } from "../../model/raft.ts";
import { type Column, drawTable } from "../ctl/table.ts";
import { type AskedMember, statusesOf } from "./conversation.ts";

/** Enough of an identity to tell members apart. */
const ID_SHOWN = 8;

const STATUS_COLUMNS: readonly Column[] = [
  { title: "Member", align: "left" },
  { title: "Id", align: "left" },
  { title: "Role", align: "left" },
  { title: "State", align: "left" },
  { title: "Term", align: "right" },
  { title: "Commit", align: "right" },
  { title: "Applied", align: "right" },
  { title: "Log", align: "left" },
  { title: "Disk", align: "left" },
];

/** One line a member, and what is to be said about all of them. */
export function statusText(asked: readonly AskedMember[]): string {
  const statuses = statusesOf(asked);
  const cluster = statuses.find((status) => status.cluster !== null)?.cluster ?? null;
  const rows = asked.map(({ address, heard }) => {
    if (heard.kind !== "status") return [address, "", "", heard.kind === "silent" ? "no answer" : heard.kind];
    const { status } = heard;
    return [
      status.member.address,
      shortId(status.member.id),
      roleOf(status),
      status.state,
      String(status.term),
      String(status.commit),
      String(status.applied),
      status.log,
      status.disk,
    ];
  });
  const table = drawTable({ title: cluster === null ? "Raft" : `Raft: ${cluster}`, columns: STATUS_COLUMNS, rows });
  return [table, ...remarks(asked, statuses)].map((line) => `${line}\n`).join("");
}

function roleOf(status: RaftStatus): string {
  const part = status.members.find(({ id }) => id === status.member.id)?.part;
  return status.role === "follower" && part === "learner" ? "learner" : status.role;
}

function remarks(asked: readonly AskedMember[], statuses: readonly RaftStatus[]): readonly string[] {
  const lines = [quorumLine(statuses)];
  for (const { address, heard } of asked) {
    if (heard.kind === "silent") lines.push(` ${address}: ${heard.reason}`);
    else if (heard.kind === "status" && heard.status.detail !== null) lines.push(` ${address}: ${heard.status.detail}`);
  }
  const leader = statuses.find(({ role }) => role === "leader");
  if (leader !== undefined) lines.push(` ${leader.keys} keys, ${leader.sessions} sessions, revision ${leader.revision}`);
  return lines;
}

/** How many voters answer, and how many have to. */
function quorumLine(statuses: readonly RaftStatus[]): string {
  const voters = votersOf(statuses);
  if (voters.length === 0) return " No member of a founded Raft answers.";
  const answering = voters.filter(({ id }) => statuses.some(({ member }) => member.id === id)).length;
  const needed = Math.floor(voters.length / 2) + 1;
  const leader = statuses.find(({ role }) => role === "leader");
  const leads = leader === undefined ? "nobody leads" : `${leader.member.address} leads`;
  return ` ${leads}; ${answering} of ${voters.length} voters answer, ${needed} are needed${answering < needed ? ": writes are not possible" : ""}`;
}

/** The voters as the member with the newest configuration knows them. */
function votersOf(statuses: readonly RaftStatus[]): readonly MemberStatus[] {
  const newest = statuses.toSorted((a, b) => b.term - a.term || b.commit - a.commit)[0];
  return newest?.members.filter(({ part }) => part === "voter") ?? [];
}

const MEMBER_COLUMNS: readonly Column[] = [
  { title: "Member", align: "left" },
  { title: "Id", align: "left" },
  { title: "Part", align: "left" },
  { title: "Link", align: "left" },
  { title: "Log", align: "right" },
];

/** The configuration of the Raft, as its leader has it. */
export function membersText(members: readonly MemberStatus[], leader: RaftMember | null): string {
  const rows = [...members]
    .sort((a, b) => (a.address < b.address ? -1 : 1))
    .map(({ address, id, part, link, matched }) => [
      address,
      id,
      id === leader?.id ? "leader" : part,
      link ?? "",
      matched === null ? "" : String(matched),
    ]);
  return `${drawTable({ title: "Raft members", columns: MEMBER_COLUMNS, rows })}\n`;
}

function shortId(id: string): string {
  return id.slice(0, ID_SHOWN);
}
