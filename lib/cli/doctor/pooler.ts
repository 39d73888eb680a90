// Owns the doctor's look at the PgBouncer of this machine, where the node's file has one: whether its console answers, whether it goes by
// the worker's lines, and which of its settings make a change of the leader longer.

import type { Clock } from "../../model/clock.ts";
import { type Finding, fine, unknown, warning } from "../../model/finding.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { ms } from "../../model/units.ts";
import { examinePooler } from "../../runtime/pgbouncer/examine.ts";

const SUBJECT = "pgbouncer";
const ANSWER_WITHIN_MS = 3000;

export async function poolerFindings(config: NodeConfig, clock: Clock): Promise<readonly Finding[]> {
  const { pgbouncer } = config;
  if (pgbouncer === null) return [];
  const place = `${pgbouncer.host}:${pgbouncer.port}`;
  const examined = await examinePooler(pgbouncer, clock, ms(clock.now() + ANSWER_WITHIN_MS));
  if (!examined.ok)
    return [
      unknown(SUBJECT, `its console at ${place} does not answer: ${examined.error}`, "start it; check host, port, username and password"),
    ];
  if (examined.value.length === 0)
    return [fine(SUBJECT, `${place} goes by the worker's lines, and its settings make no change of the leader longer`)];
  return examined.value.map(({ setting, says, fix }) => warning(`${SUBJECT} ${setting}`, says, `pgbouncer.ini: ${fix}`));
}
