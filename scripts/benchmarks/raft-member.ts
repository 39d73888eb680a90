// Owns one Raft member as a process of its own, for scripts/benchmarks/raft.ts: `bun run raft-member.ts FOLDER ADDRESS [PARTNER…]`.
// SIGTERM stops it cleanly; it says on stdout when it listens.

import { randomBytes } from "node:crypto";
import { raftMemberConfig } from "../../lib/dcs/raft/member/config.ts";
import { RaftMemberNode } from "../../lib/dcs/raft/member/node.ts";
import { openFileDisk } from "../../lib/dcs/raft/storage/file-disk.ts";
import { tcpNetwork } from "../../lib/dcs/raft/transport/tcp-network.ts";
import type { Log } from "../../lib/model/log.ts";
import { realClock } from "../../lib/runtime/clock.ts";

const [folder, selfAddress, ...partnerAddresses] = process.argv.slice(2);
if (folder === undefined || selfAddress === undefined) throw new Error("usage: raft-member.ts FOLDER ADDRESS [PARTNER…]");

const quiet = (): void => {};
const told = (message: string): void => console.error(message);
const log: Log = { debug: quiet, info: quiet, warning: quiet, error: told, critical: told };
const disk = openFileDisk(folder);
if (!disk.ok) throw disk.error;
const clock = realClock();
const config = raftMemberConfig({ selfAddress, partnerAddresses, security: { kind: "plain" } });
const network = tcpNetwork({ clock, security: config.security, log });
const node = new RaftMemberNode({ disk: disk.value, network, clock, random: (bytes) => randomBytes(bytes), log, config });
node.onStopped = () => process.exit(1);
process.on("SIGTERM", () => void node.stop("clean").then(() => process.exit(0)));
const started = await node.start();
if (!started.ok) throw new Error(started.error);
console.log("listening");
