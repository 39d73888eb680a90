// Owns the command `raft recover`: when a majority of the members is lost for good, the member of this node goes on alone. It
// says what is there and what will be lost, and does nothing without --force or while the others could still decide.

import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { loadNodeConfig } from "../../config/load.ts";
import { inspectRemains, type Remains, recoverAlone } from "../../dcs/raft/recover.ts";
import { formatHostPort } from "../../model/host-port.ts";
import type { Log } from "../../model/log.ts";
import type { RaftConfig } from "../../model/node-config.ts";
import { ms } from "../../model/units.ts";
import { EXIT, type ExitCode } from "../../runtime/exit-codes.ts";
import { lockRaftFolder } from "../../runtime/raft-folder.ts";
import { askEveryone, statusesOf } from "./conversation.ts";
import { openMembersLink } from "./members-link.ts";
import type { RaftTerminal } from "./program.ts";

/** How long the other members may take to say that they are there. */
const OTHERS_WITHIN_MS = 3_000;

/** Exit status: 0 done, 1 refused (and without --force, after saying what would be done). */
export async function recover(
  options: { readonly config: string | null; readonly mode: "look" | "force" },
  terminal: RaftTerminal,
  log: Log,
): Promise<ExitCode> {
  const loaded = await loadNodeConfig({ path: options.config, env: terminal.env, purpose: "witness" });
  if (!loaded.ok) {
    for (const fault of loaded.error) terminal.complain(`${fault.path}: ${fault.message}\n`);
    return EXIT.failed;
  }
  const raft = loaded.value.config.raft;
  if (raft === null || raft.dataDir === null || raft.selfAddr === null) throw new Error("a witness's configuration without a member");
  const refuse = (message: string): ExitCode => {
    terminal.complain(`${message}\n`);
    return EXIT.failed;
  };
  const owner = wrongUser(raft.dataDir);
  if (owner !== null) return refuse(owner);
  const folder = raft.dataDir;
  const there = existsSync(join(folder, "identity"));
  const lock = there ? lockRaftFolder(folder, "raft recover") : null;
  if (lock !== null && !lock.ok) return refuse(lock.error.message);
  try {
    const remains = there ? await inspectRemains({ folder, log }) : null;
    if (remains !== null && !remains.ok) return refuse(`${folder}: ${remains.error}`);
    terminal.out(describe(folder, remains?.value ?? null));
    const serving = await whoServes(raft, remains?.value.members ?? [], { terminal, log });
    if (serving !== null) return refuse(`Refused: ${serving}`);
    if (options.mode === "look") return refuse("Nothing was changed. Add --force to do it.");
    const recovered = await recoverAlone({ folder, address: formatHostPort(raft.selfAddr), log });
    if (!recovered.ok) return refuse(recovered.error);
    terminal.out(outcome(recovered.value));
    return EXIT.ok;
  } finally {
    if (lock?.ok === true) lock.value.release();
  }
}

/** What the folder belongs to must stay able to use it. */
function wrongUser(folder: string): string | null {
  const uid = statSync(existsSync(folder) ? folder : dirname(folder), { throwIfNoEntry: false })?.uid;
  return uid === undefined || uid === process.getuid?.()
    ? null
    : `${folder} belongs to another user (uid ${uid}): run this as that user, as the supervisor does`;
}

/** Why the old cluster is not lost, or that another one is there; null where nobody answers for it. */
async function whoServes(
  raft: RaftConfig,
  members: readonly string[],
  parts: { readonly terminal: RaftTerminal; readonly log: Log },
): Promise<string | null> {
  const own = raft.selfAddr === null ? "" : formatHostPort(raft.selfAddr);
  const others = [...new Set([...members, ...raft.partnerAddrs.map(formatHostPort)])].filter((address) => address !== own);
  const link = openMembersLink(raft, { clock: parts.terminal.clock, log: parts.log });
  if (!link.ok) return `${link.error.path}: ${link.error.message}`;
  try {
    const deadline = ms(parts.terminal.clock.now() + OTHERS_WITHIN_MS);
    const statuses = statusesOf(await askEveryone(link.value, others, deadline));
    const leader = statuses.find(({ role }) => role === "leader");
    if (leader !== undefined) {
      return `${leader.member.address} leads a Raft, so no majority is lost. Remove ${raft.dataDir} and start the member: it joins that one.`;
    }
    const founded = statuses.filter(({ cluster }) => cluster !== null);
    const needed = Math.floor(members.length / 2) + 1;
    if (members.length > 0 && founded.length + 1 >= needed) {
      return `with ${founded.map(({ member }) => member.address).join(", ")} a majority is there (${needed} of ${members.length}): start this member, and they will elect a leader.`;
    }
    return null;
  } finally {
    await link.value.close();
  }
}

function describe(folder: string, remains: Remains | null): string {
  const content =
    remains === null
      ? [`${folder} holds no member: a new, empty Raft of this member alone will be made.`]
      : [
          `${folder} holds member ${remains.memberId ?? "(none)"} of Raft ${remains.clusterId ?? "(none)"}:`,
          `  members ${remains.members.join(", ") || "(none)"}`,
          `  log up to ${remains.lastIndex} (term ${remains.lastTerm}), ${remains.keys} keys`,
          ...(remains.damage === null ? [] : [`  the log is damaged, what is behind the damage is lost: ${remains.damage}`]),
          "A new Raft of this member alone will be made from it. What other members have and this one has not is lost; changes",
          "that were never confirmed may be in it. Choose the member whose log reaches furthest.",
        ];
  return `${[
    ...content,
    "Make sure that the other members are stopped and stay stopped: two Rafts are two clusters, and two primaries.",
    "",
  ].join("\n")}\n`;
}

function outcome({ clusterId, kept }: { readonly clusterId: string; readonly kept: string | null }): string {
  return `${[
    `This member is Raft ${clusterId} now, alone.${kept === null ? "" : ` The old folder is ${kept}.`}`,
    "Start it. Then, on each other node: stop it, remove its raft.data_dir, start it: it joins as a new member.",
  ].join("\n")}\n`;
}
