// Owns what keeps a node from being started where it is: looked at before anything is changed. Starts nothing.

import { ms } from "../model/units.ts";
import { localApiRuns } from "./alone/local-api.ts";
import { EXIT } from "./exit-codes.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeFailure } from "./node-failure.ts";
import { somebodyListens, takenAddress } from "./port-check.ts";

/** A node of our name that says nothing within this time is taken for gone. */
const NAME_ASKED_MS = 1000;

/** A data directory that is not PostgreSQL's, or an address that is not free; null where nothing is in the way. */
export async function whyNotHere({ postgres, state }: NodeContext): Promise<NodeFailure | null> {
  const { dataDir, listenHosts, port } = state.settings.node.postgresql;
  const { dataDirectory, process } = await postgres.inspect();
  if (dataDirectory.kind === "foreign" && dataDirectory.unread === true)
    return { code: EXIT.failed, message: `postgresql.data_dir: ${dataDirectory.sample}` };
  if (dataDirectory.kind === "foreign") {
    const message = `postgresql.data_dir: ${dataDir} is not empty and not a PostgreSQL data directory (it holds ${dataDirectory.sample}); name an empty directory or PostgreSQL's own`;
    return { code: EXIT.failed, message };
  }
  const taken = process.kind === "none" ? await takenAddress(listenHosts, port) : null;
  if (taken === null) return null;
  return { code: EXIT.failed, message: `postgresql.listen: ${taken} is taken by another process; choose a free port or end that process` };
}

/** A member key of our name whose API answers is somebody else's: ours does not listen yet. */
export async function whyNotByName({ clock, peers, state }: NodeContext): Promise<NodeFailure | null> {
  const { name, postgresql } = state.settings.node;
  const member = state.cluster?.members.find((one) => one.name === name);
  if (member === undefined || member.apiUrl === null || localApiRuns(postgresql.dataDir)) return null;
  // After a restart it is our own of before, and nobody listens there: for that no HTTP client has to be loaded.
  if (!(await somebodyListens(member.apiUrl, NAME_ASKED_MS))) return null;
  if ((await peers.ask(member.apiUrl, ms(clock.now() + NAME_ASKED_MS))) === null) return null;
  return { code: EXIT.failed, message: `Can't start; there is already a node named '${name}' running` };
}
