// Goal: commands that Patroni does not have work on a cluster of Patroni's nodes, or are refused before anything is changed, with the reason.
// Method: two nodes run by Patroni 4.1, as it is; our ctl over the same Consul.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { findPatroni, insteadOfOurs } from "../harness/patroni.ts";

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);

/** Patroni's loops are 10 s long where nothing wakes them. */
const FOUNDED_WITHIN_MS = 240_000;
const LIMIT_MS = 5 * 60_000;

describe.skipIf(typeof found === "string")("on a cluster of Patroni's nodes", () => {
  let cluster: TestCluster;
  let ctl: CtlTool;

  beforeAll(async () => {
    if (typeof found === "string") return;
    const network = () => ({ host: "127.0.0.1", prefix: insteadOfOurs(found) });
    cluster = await TestCluster.shared({ nodes: 2, network });
    await cluster.untilHealthy({ withinMs: FOUNDED_WITHIN_MS });
    ctl = ownCtl(cluster);
  }, LIMIT_MS);
  afterAll(() => TestCluster.stopAll());

  /** Everything that a refused command may not have touched. */
  const state = async (): Promise<string> => {
    const keys = ["initialize", "config", "failover", "sync", "restore", "moving"];
    const values = await Promise.all(keys.map(async (key) => (await cluster.key(key))?.value ?? null));
    return JSON.stringify([values, (await cluster.untilLeader()).name]);
  };

  test(
    "backups, a restore, a move to another store and an import are refused, and nothing is changed",
    () =>
      cluster.during(async () => {
        const before = await state();
        expect(await ctl.run(["backups"])).toMatchObject({ status: 1, text: expect.stringContaining("is it a Patroni?") });
        expect(await ctl.run(["restore", "--latest", "--yes"])).toMatchObject({ status: 1, text: expect.stringContaining("Patroni") });
        const to = join(cluster.folder, "elsewhere.yml");
        writeFileSync(to, JSON.stringify({ scope: cluster.scope, namespace: "elsewhere", ...cluster.storeClient.section }), {
          mode: 0o600,
        });
        const moved = { status: 1, text: expect.stringMatching(/a Patroni knows nothing of a move.*node1, node2/) };
        expect(await ctl.run(["move-dcs", "--to", to, "--force"])).toMatchObject(moved);
        const file = join(cluster.folder, "state.json");
        expect(await ctl.run(["export", "-o", file])).toMatchObject({ status: 0 });
        expect(Object.keys(JSON.parse(readFileSync(file, "utf8")).keys)).toContain("config");
        expect(await ctl.run(["import", file])).toMatchObject({ status: 1, text: expect.stringContaining("--replace") });
        expect(await state()).toBe(before);
      }),
    120_000,
  );

  test(
    "a rolling restart goes through them as through ours",
    () =>
      cluster.during(async () => {
        const leader = await cluster.untilHealthy();
        const answer = await ctl.run(["rolling", "restart", "--force"]);
        expect(answer).toMatchObject({ status: 0, text: expect.stringContaining("Success: every member was restarted") });
        expect((await cluster.untilHealthy()).name).not.toBe(leader.name);
      }),
    240_000,
  );
});
