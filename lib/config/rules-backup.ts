// Owns the rules of `pgbackrest.schedule`: what must be there, and what can be no schedule. Touches no file.

import { BACKUP_TYPES } from "../model/backup-run.ts";
import { cronFault } from "../model/cron.ts";
import type { ConfigFault } from "../model/errors.ts";
import type { NodeTree } from "./schema-node.ts";

type ScheduleTree = NonNullable<NonNullable<NodeTree["pgbackrest"]>["schedule"]>;

const ALWAYS = "* * * * *";

export function scheduleFaults(tree: ScheduleTree): readonly ConfigFault[] {
  const path = "pgbackrest.schedule";
  const zoneFault = cronFault(ALWAYS, tree.timezone);
  if (zoneFault !== null) return [{ path: `${path}.timezone`, message: `${tree.timezone} is no time zone; write timezone: Europe/Berlin` }];
  if (BACKUP_TYPES.every((type) => tree[type] === null)) return [{ path, message: "names no backup; write full: '0 1 * * 0'" }];
  return BACKUP_TYPES.flatMap((type) => {
    const time = tree[type];
    const fault = time === null ? null : cronFault(time, tree.timezone);
    return fault === null
      ? []
      : [{ path: `${path}.${type}`, message: `${JSON.stringify(time)} is no cron expression (${fault}); write '0 1 * * *'` }];
  });
}
