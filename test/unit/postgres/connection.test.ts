// Owns the tests of where the local server is asked, and of what its refusals are taken for.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection, presentEndpoint } from "../../../lib/postgres/connection.ts";
import { clock, serverConfig, within } from "../../harness/local-server.ts";

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

test("only a server that takes no connection now, because it starts up, recovers or shuts down, is one whose trouble passes by itself", async () => {
  const asked = async (sqlState: string) => {
    const answer = Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0Mnot now\0\0`);
    const header = Buffer.alloc(5);
    header.write("E");
    header.writeInt32BE(answer.length + 4, 1);
    // Answers each start packet with that error.
    const server = createServer(
      (socket) => void socket.on("error", () => undefined).once("data", () => socket.end(Buffer.concat([header, answer]))),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const user = { username: "postgres", password: null, options: { sslmode: "disable" } };
    const endpoint = { at: { kind: "tcp", host: "127.0.0.1" }, port, user, database: "postgres" } as const;
    const connection = new Connection({ clock, endpoint: async () => endpoint });
    try {
      return await connection.query("SELECT 1", [], within(60_000));
    } finally {
      await connection.close();
      await new Promise((resolve) => server.close(resolve));
    }
  };
  expect(await asked("57P03")).toMatchObject({ ok: false, error: { kind: "unreachable", answered: true, passing: true } });
  for (const sqlState of ["53300", "28P01", "57P01"]) {
    const answer = await asked(sqlState);
    expect(answer).toMatchObject({ ok: false, error: { kind: "unreachable", answered: true } });
    expect(answer.ok ? null : answer.error.passing).toBeUndefined();
  }
});
