// Owns what pgBackRest adds to a configuration: archive and restore commands, the hooks that keep the stanza, replicas and
// restores from the repository. Pure; what the words mean is in docs/backups.md.

import type { Tree } from "./tree.ts";

/** Where a configuration of Debian's package is. */
const CONFIG = "/etc/pgbackrest.conf";
/** A segment that is not full is archived after so long: what a restore may lack at most, where a whole site is lost. */
const ARCHIVE_TIMEOUT = "60s";

/** Laid over a node's file. `backrest`: how the program of that name is called; `file`: the node's file that it reads. */
export function pgbackrestTree(options: { readonly stanza: string; readonly backrest: string; readonly file: string }): Tree {
  const { backrest, file, stanza } = options;
  const pgbackrest = `pgbackrest --stanza=${stanza}`;
  return {
    pgbackrest: { stanza, config: CONFIG },
    bootstrap: {
      dcs: {
        postgresql: {
          parameters: {
            archive_mode: "on",
            archive_timeout: ARCHIVE_TIMEOUT,
            archive_command: `${pgbackrest} archive-push %p`,
          },
          recovery_conf: { restore_command: `${pgbackrest} archive-get %f "%p"` },
        },
      },
      post_bootstrap: `${backrest} ${file} stanza`,
    },
    postgresql: {
      callbacks: { on_role_change: `${backrest} ${file} stanza` },
      create_replica_methods: ["pgbackrest", "basebackup"],
      pgbackrest: { command: `${backrest} ${file} restore`, no_leader: true },
    },
  };
}
