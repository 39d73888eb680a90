// Owns a member of the Raft without PostgreSQL, a witness: its configuration, its folder, its signals and how it ends.

import { randomBytes } from "node:crypto";
import { loadNodeConfig } from "../../config/load.ts";
import { RaftMemberNode } from "../../dcs/raft/member/node.ts";
import { memberConfigOf } from "../../dcs/raft/section.ts";
import { openFileDisk } from "../../dcs/raft/storage/file-disk.ts";
import { tcpNetwork } from "../../dcs/raft/transport/tcp-network.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { realClock } from "../clock.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { createLog, type NodeLog } from "../log.ts";
import { lockRaftFolder } from "../raft-folder.ts";
import { complain, readArguments } from "./open.ts";

/** Runs until a signal, or until the member stops by itself. Exit status: 0 on a signal, 1 refused or stopped, 2 usage, 4 the folder is in use. */
export async function mainOfRaftNode(
  argv: readonly string[] = process.argv.slice(2),
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<ExitCode> {
  const words = readArguments({ worker: "raft-node", argv });
  if (!words.ok) return words.error;
  const loaded = await loadNodeConfig({ path: words.value.path, env, purpose: "witness" });
  if (!loaded.ok) {
    for (const fault of loaded.error) complain(`${fault.path}: ${fault.message}`);
    return EXIT.failed;
  }
  const log = createLog(loaded.value.config.log);
  for (const { path, message } of loaded.value.warnings) log.warning(`${path}: ${message}`);
  try {
    return await runMember(loaded.value.config, log);
  } finally {
    log.close();
  }
}

async function runMember(config: NodeConfig, log: NodeLog): Promise<ExitCode> {
  const { raft } = config;
  if (raft === null || raft.dataDir === null) throw new Error("a witness's configuration without a member");
  const lock = lockRaftFolder(raft.dataDir, "raft-node");
  if (!lock.ok) {
    log.critical(lock.error.message);
    return lock.error.kind === "held" ? EXIT.alreadyRunning : EXIT.failed;
  }
  const member = openMember(raft, raft.dataDir, log);
  if (!member.ok) {
    log.critical(member.error);
    return EXIT.failed;
  }
  const stopped = new Promise<"asked" | "failed">((resolve) => {
    // Why is in the log: the member said so.
    member.value.onStopped = () => resolve("failed");
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve("asked"));
  });
  const started = await member.value.start();
  if (!started.ok) {
    log.critical(`raft: ${started.error}`);
    return EXIT.failed;
  }
  log.info(`raft: this member is ${member.value.status().member.id} at ${member.value.status().member.address}`);
  if ((await stopped) === "failed") return EXIT.failed;
  await member.value.stop("clean");
  return EXIT.ok;
}

/** A witness holds no data that could belong elsewhere: it may found a Raft. */
function openMember(raft: NonNullable<NodeConfig["raft"]>, folder: string, log: NodeLog): Result<RaftMemberNode, string> {
  const config = memberConfigOf(raft, "may");
  if (!config.ok) return err(`${config.error.path}: ${config.error.message}`);
  const disk = openFileDisk(folder);
  if (!disk.ok) return err(`raft.data_dir: ${disk.error.message}`);
  const clock = realClock();
  try {
    const network = tcpNetwork({ clock, security: config.value.security, log });
    return ok(new RaftMemberNode({ disk: disk.value, network, clock, random: randomBytes, log, config: config.value }));
  } catch (error) {
    return err(`raft: ${error instanceof Error ? error.message : String(error)}`);
  }
}
