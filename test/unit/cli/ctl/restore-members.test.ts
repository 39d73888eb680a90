// Before a restore each member is asked: one that knows nothing of it, or cannot be asked, keeps it from beginning.

import { expect, test } from "bun:test";
import type { CtlContext } from "../../../../lib/cli/ctl/context.ts";
import { memberObstacles } from "../../../../lib/cli/ctl/restore-members.ts";
import { err, ok } from "../../../../lib/model/result.ts";
import { ms } from "../../../../lib/model/units.ts";
import { cluster, member } from "../../core/observations.ts";

/** Members by what they answer: status and text, or none. */
function asking(answers: Readonly<Record<string, readonly [number, string] | null>>): CtlContext {
  const peers = {
    send: async (_method: string, url: string, path: string) => {
      expect(path).toBe("/restore");
      const answer = answers[new URL(url).hostname.replace("host-", "")] ?? null;
      return answer === null ? err({ message: "no answer in time" }) : ok({ status: answer[0], text: answer[1] });
    },
  };
  return { peers, within: () => ms(1000) } as unknown as CtlContext;
}

const FINE = [200, '{"obstacle":null}'] as const;
const HINDERED = [200, '{"obstacle":"/data has tablespaces"}'] as const;

test("nothing is in the way where all members know of restores; what hinders a replica is none of its business", async () => {
  expect(await memberObstacles(asking({ a: FINE, b: HINDERED, c: FINE }), { cluster: cluster() })).toEqual([]);
});

test("the leader's directory, an older version, and a member that does not answer are named", async () => {
  const older = [503, '{"state":"running"}'] as const;
  expect(await memberObstacles(asking({ a: HINDERED, b: older, c: null }), { cluster: cluster() })).toEqual([
    "a leads, and cannot restore: /data has tablespaces",
    "b (0.1.0) knows nothing of restores and would start its PostgreSQL meanwhile: update it first",
    "c cannot be asked whether it knows of restores: no answer in time",
  ]);
  const patroni = cluster({ members: [member("a", { role: "primary" }), member("b", { product: null })] });
  expect(await memberObstacles(asking({ a: FINE }), { cluster: patroni })).toEqual([]);
  const closed = [401, "no auth header received"] as const;
  expect(await memberObstacles(asking({ a: FINE, b: closed, c: FINE }), { cluster: cluster() })).toEqual([
    "b does not say whether it knows of restores: no auth header received",
  ]);
});
