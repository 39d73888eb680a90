// Owns the tests of what a look at the local PostgreSQL makes of what it sees.

import { expect, test } from "bun:test";
import type { DataDirectory } from "../../../lib/model/postgres.ts";
import { lookAtPostgres } from "../../../lib/runtime/observe.ts";
import { Bench, RUNNING } from "./fenced-node.ts";

const VALID: DataDirectory = { kind: "valid", majorVersion: 17 };
const UNREAD: DataDirectory = { kind: "foreign", sample: "/data cannot be read: EACCES", unread: true };
const FOREIGN: DataDirectory = { kind: "foreign", sample: "thesis.txt" };

test("a data directory that cannot be looked at is what it was while a server runs in it; a stranger's, or one without a server, is not", async () => {
  const context = await new Bench().node("primary");
  const seen = async (dataDirectory: DataDirectory, process: typeof RUNNING | { readonly kind: "none" } = RUNNING) => {
    context.postgres.inspect = async () => ({ dataDirectory, process });
    await lookAtPostgres(context);
    return context.state.local.dataDirectory;
  };
  expect(await seen(VALID)).toEqual(VALID);
  expect(await seen(UNREAD)).toEqual(VALID);
  expect(await seen(FOREIGN)).toEqual(FOREIGN);
  expect(await seen(UNREAD)).toEqual(UNREAD);
  expect(await seen(VALID)).toEqual(VALID);
  expect(await seen(UNREAD, { kind: "none" })).toEqual(UNREAD);
});
