// Owns the scenarios of the rules for a cluster that is restored or upgraded, and for what is left of a way back. The simulation has
// neither backups nor a second version, so all of them stand here.

import type { Observation } from "../../../../lib/core/observation.ts";
import type { Cluster } from "../../../../lib/model/cluster.ts";
import type { RestoreRequest } from "../../../../lib/model/restore.ts";
import { lsn, ms, revision, timeline } from "../../../../lib/model/units.ts";
import { type UpgradeRequest, unreadableUpgrade } from "../../../../lib/model/upgrade.ts";
import { cluster, leading, local, member, observation, primaryStatus } from "../observations.ts";
import { down, failed, over, paused, renewedInVain, type Scenarios } from "./situations.ts";

const ID = "20260131-120000";
const OURS = { name: "b", session: "s-b", revision: revision(4) };
const everybodyDown = ["a", "b", "c"].map((name) => member(name, { state: "stopped" }));
const { lock } = leading();

function restore(fields: Partial<RestoreRequest>): RestoreRequest {
  const asked = { revision: revision(20), id: ID, phase: "stop", direction: "forward", node: "b", label: "20260131-110000F" } as const;
  return { ...asked, target: null, recoveryTimeline: "latest", timeline: null, cloned: [], message: null, ...fields };
}

function upgrade(fields: Partial<UpgradeRequest>): UpgradeRequest {
  const asked = { id: ID, phase: "stop", node: "b", fromMajor: 13, toMajor: 15, binDir: "/15/bin", message: null } as const;
  return { ...unreadableUpgrade(revision(20)), ...asked, identifier: null, checkpoint: lsn(900), ...fields };
}

/** Node b, which does the work, with the lock and its PostgreSQL down; the others are down as well. */
function works(view: Partial<Cluster>, fields: Parameters<typeof observation>[0] = {}): Observation {
  return observation({ cluster: cluster({ leader: OURS, members: everybodyDown, ...view }), lock, local: down, ...fields });
}

/** Node b beside a, which does the work. */
function beside(view: Partial<Cluster>, fields: Parameters<typeof observation>[0] = {}): Observation {
  return observation({ cluster: cluster(view), ...fields });
}

const serving = [member("a", { role: "primary", timeline: timeline(2) }), member("b"), member("c")];
const copied = { members: serving, restore: restore({ node: "a", phase: "clone", timeline: timeline(2) }) };
const marked = { ...down, wayBack: ID };

export const RESTORE: Scenarios = {
  "task-restore-over": works(
    { restore: restore({ phase: "undo" }) },
    { task: { kind: "restore", startedAt: ms(90_000), aborting: false } },
  ),
  "way-back-unknown": observation({
    dcs: { kind: "unreachable", since: ms(99_000), cluster: cluster(), reason: "no" },
    local: marked,
  }),
  "way-back-stop": observation({ local: local({ wayBack: ID }) }),
  "way-back-retry": observation({ local: marked, lastTask: failed("restore") }),
  "way-back-settle": observation({ local: marked }),
  "restore-renew": works({ restore: restore({ phase: "restore" }) }, { lock: { held: over } }),
  "restore-paused": works({ restore: restore({ phase: "restore" }) }, { config: paused }),
  "restore-stop": beside({ restore: restore({ node: "a" }) }),
  "restore-drain": beside({ upgrade: upgrade({ node: "a" }) }),
  "restore-acquire": works({ leader: null, restore: restore({ phase: "restore" }) }, { lock: { held: null } }),
  "restore-unconfirmed": works({ restore: restore({ phase: "restore" }) }, { lock: { held: over }, done: renewedInVain }),
  "restore-yield": works({ restore: restore({ node: "a" }) }),
  "restore-stopped": works({ upgrade: upgrade({}) }),
  "restore-begin": works({ restore: restore({}) }),
  "restore-run": works({ restore: restore({ phase: "restore" }) }),
  "restore-finish": works(
    { restore: restore({ phase: "clone", timeline: timeline(2) }) },
    { local: { ...down, dataDirectory: { kind: "half-made", by: "restored" } } },
  ),
  "restore-undo": works({ restore: restore({ phase: "undo" }) }),
  "restore-clone-retry": beside(copied, { local: down, lastTask: failed("clone") }),
  "restore-clone": beside(copied, { local: down }),
  "restore-wait": beside({ restore: restore({ node: "a", phase: "restore" }) }, { local: down }),
  "restore-done": leading({
    cluster: cluster({ leader: OURS, restore: restore({ phase: "clone", timeline: timeline(2), cloned: ["a", "c"] }) }),
    local: local({ status: primaryStatus({ timeline: timeline(2) }), lastRole: "primary", upstream: "" }),
  }),
};
