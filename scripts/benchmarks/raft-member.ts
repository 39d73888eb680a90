// Owns one Raft member as a process of its own, for the measurements: `bun run raft-member.ts [--thread] FOLDER ADDRESS [PARTNER…]`.
// With --thread it runs in a Worker, as in a supervisor. Its first line on stdout says that it listens, and how much memory (PSS,
// MiB) the process took before there was a member. SIGTERM stops it cleanly.

import { parseArgs } from "node:util";
import { LocalMember } from "../../lib/dcs/raft/client/local.ts";
import { raftMemberConfig } from "../../lib/dcs/raft/member/config.ts";
import { RaftMemberNode } from "../../lib/dcs/raft/member/node.ts";
import { openFileDisk } from "../../lib/dcs/raft/storage/file-disk.ts";
import { tcpNetwork } from "../../lib/dcs/raft/transport/tcp-network.ts";
import { clock, log, random, THREAD_ENTRY } from "./raft-ours.ts";
import { memoryOf } from "./rest.ts";

const { values, positionals } = parseArgs({ options: { thread: { type: "boolean" } }, allowPositionals: true });
const [folder, selfAddress, ...partnerAddresses] = positionals;
if (folder === undefined || selfAddress === undefined) throw new Error("usage: raft-member.ts [--thread] FOLDER ADDRESS [PARTNER…]");

const config = raftMemberConfig({ selfAddress, partnerAddresses, security: { kind: "plain" } });
const before = memoryOf([process.pid]).pss;
const member = values.thread === true ? await startThread(folder) : await startHere(folder);
member.onStopped = () => process.exit(1);
process.on("SIGTERM", () => void member.stop("clean").then(() => process.exit(0)));
console.log(`listening ${before}`);

async function startThread(path: string): Promise<LocalMember> {
  const local = new LocalMember({ entry: THREAD_ENTRY, clock, log });
  const started = await local.start(path, config);
  if (!started.ok) throw new Error(started.error);
  return local;
}

async function startHere(path: string): Promise<RaftMemberNode> {
  const disk = openFileDisk(path);
  if (!disk.ok) throw disk.error;
  const network = tcpNetwork({ clock, security: config.security, log });
  const node = new RaftMemberNode({ disk: disk.value, network, clock, random, log, config });
  const started = await node.start();
  if (!started.ok) throw new Error(started.error);
  return node;
}
