// Owns the systems that are compared: how each supervisor is started with one configuration file. Knows nothing of what is measured.

import { spawnSync } from "node:child_process";
import { serverUser } from "../../lib/cli/quickstart/folder.ts";

export interface System {
  readonly name: "ours" | "patroni";
  readonly version: string;
  /** In front of a node's own command; empty: that command as it is. */
  readonly prefix: readonly string[];
}

export function ourSystem(version: string): System {
  return { name: "ours", version, prefix: [] };
}

/** Patroni by the given command, or by PATH, or by PYTHONPATH; null where there is none. */
export function patroniSystem(given: string | null): System | null {
  const candidates = given === null ? ["patroni", "python3 -m patroni", "/usr/bin/python3 -m patroni"] : [given];
  for (const command of candidates) {
    const asked = spawnSync("sh", ["-c", `exec ${command} --version`], { encoding: "utf8" });
    const version = /(\d+\.\d+\S*)/.exec(`${asked.stdout}${asked.stderr}`)?.[1];
    if (asked.status === 0 && version !== undefined) return { name: "patroni", version, prefix: replacing(command) };
  }
  return null;
}

/** The node's command is `bun run supervisor.ts FILE`: the shell takes the file out of it. */
function replacing(command: string): readonly string[] {
  const shell = ["sh", "-c", `exec ${command} "$4"`, "sh"];
  const { uid, gid } = serverUser();
  if (uid === null || gid === null) return shell;
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--", ...shell];
}
