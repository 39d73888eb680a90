// GET /backups: the listing as it is, and a clear answer where there is none.

import { expect, test } from "bun:test";
import { err } from "../../../lib/model/result.ts";
import { apiOf } from "./asking.ts";
import { NO_BACKUPS, NodeUnderTest } from "./node-under-test.ts";

test("GET /backups answers with the listing, 503 with pgBackRest's reason, and 502 where it is not configured", async () => {
  const node = new NodeUnderTest();
  const ask = apiOf(node);
  const listed = await ask("GET", "/backups");
  expect([listed.status, JSON.parse(listed.text)]).toEqual([200, NO_BACKUPS as never]);
  node.listed = null;
  const without = await ask("GET", "/backups");
  expect([without.status, without.text]).toEqual([502, "pgbackrest is not configured on this node"]);
  node.listed = err({ kind: "failed", message: "pgbackrest info ended with exit status 37" });
  const failed = await ask("GET", "/backups");
  expect([failed.status, failed.text]).toEqual([503, "pgbackrest info ended with exit status 37"]);
});
