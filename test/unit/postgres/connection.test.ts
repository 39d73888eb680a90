// Owns the tests of where the local server is asked.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { presentEndpoint } from "../../../lib/postgres/connection.ts";
import { serverConfig } from "../../harness/local-server.ts";

const folder = mkdtempSync(join(tmpdir(), "matriarch-socket-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("a socket that was taken away is no way to the server: it is asked over TCP until the socket is there again, where it listens there", async () => {
  const config = { ...serverConfig(folder, "data", 5999), useUnixSocket: true };
  const listening = { pid: 1, startEpochSeconds: 1, port: 5999, socketDirectory: folder, listenAddress: "127.0.0.1", status: "ready" };
  const asked = async (listenAddress: string | null) => (await presentEndpoint(config, { ...listening, listenAddress })).at;
  expect(await asked("127.0.0.1")).toEqual({ kind: "tcp", host: "127.0.0.1" });
  expect(await asked(null)).toEqual({ kind: "unix", directory: folder });
  writeFileSync(join(folder, ".s.PGSQL.5999"), "");
  expect(await asked("127.0.0.1")).toEqual({ kind: "unix", directory: folder });
});
