// Owns how events, messages and writes read in a trace and in scenario files.

import type { LogEntry, LogWrite, MembershipChange, Message, RaftEvent, RoleState, WriteBatch } from "../../../lib/dcs/raft/core/types.ts";
import type { MemberId } from "../../../lib/model/raft.ts";

/** Simulated identities are numbers; people read letters. */
export function nameOf(id: MemberId | null): string {
  if (id === null) return "-";
  const number = Number.parseInt(id, 16) - 1;
  return String.fromCharCode(97 + (number % 26)).repeat(1 + Math.floor(number / 26));
}

export function describeMessage(message: Message): string {
  const head = `${message.kind} t${message.term}`;
  switch (message.kind) {
    case "vote-request":
      return `${head} ${message.purpose} log ${message.lastIndex}/t${message.lastTerm}`;
    case "vote-answer":
      return `${head} ${message.purpose} ${message.verdict}`;
    case "append":
      return `${head} after ${message.previousIndex}/t${message.previousTerm} [${describeEntries(message.entries)}] commit ${message.commit} round ${message.round}`;
    case "append-answer":
      return `${head} ${message.outcome} ${message.index} round ${message.round}`;
    case "snapshot-chunk":
      return `${head} ${message.meta.index}/t${message.meta.term} ${message.offset}+${message.data.length} of ${message.size}`;
    case "snapshot-answer":
      return `${head} ${message.index} ${message.outcome} ${message.offset}`;
    case "timeout-now":
      return head;
  }
}

export function heard(event: RaftEvent): string {
  return `< ${describeEvent(event)}`;
}

export function describeRole({ role, term }: RoleState): string {
  return `is ${role} of term ${term}`;
}

export function describeEvent(event: RaftEvent): string {
  switch (event.kind) {
    case "message":
      return `${nameOf(event.from)}: ${describeMessage(event.message)}`;
    case "written":
      return `written ${event.sequence}`;
    case "propose":
    case "read":
      return `${event.kind} #${event.id}`;
    case "change-members":
      return `change-members #${event.id} ${describeChange(event.change)}`;
    case "transfer":
      return `transfer to ${nameOf(event.to)}`;
    case "peer-lost":
      return `peer-lost ${nameOf(event.peer)}`;
    case "snapshot-saved":
    case "snapshot-installed":
    case "snapshot-refused":
      return `${event.kind} ${event.meta.index}/t${event.meta.term}`;
    case "tick":
    case "disk-full":
    case "disk-room":
      return event.kind;
  }
}

export function describeWrites(batch: WriteBatch): string {
  return `writes #${batch.sequence} ${batch.writes.map(describeWrite).join(", ")}`;
}

function describeWrite(write: LogWrite): string {
  switch (write.kind) {
    case "hard-state":
      return `term ${write.state.term} vote ${nameOf(write.state.votedFor)}`;
    case "append":
      return `[${describeEntries(write.entries)}]`;
    case "reset":
      return `reset ${write.index}/t${write.term}`;
    case "whole":
      return "whole";
  }
}

function describeEntries(entries: readonly LogEntry[]): string {
  const first = entries[0];
  if (first === undefined) return "";
  const last = entries.at(-1) as LogEntry;
  return entries.length === 1
    ? `${first.index}/t${first.term} ${first.kind}`
    : `${first.index}/t${first.term}..${last.index}/t${last.term}`;
}

function describeChange(change: MembershipChange): string {
  switch (change.kind) {
    case "add":
      return `add ${nameOf(change.member.id)}${change.replaces === null ? "" : ` for ${nameOf(change.replaces)}`}`;
    case "remove":
      return `remove ${nameOf(change.id)}`;
    case "move":
      return `move ${change.members.map(({ id }) => nameOf(id)).join(", ")}`;
  }
}
