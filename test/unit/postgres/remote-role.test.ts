// Goal: what runs at another server's address is told apart without trusting a login. Method: sockets on loopback for the host, and an
// answer in psql's place.

import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FollowTarget } from "../../../lib/model/postgres.ts";
import { err, ok } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import type { PostgresContext, RunProgram } from "../../../lib/postgres/context.ts";
import { askRole } from "../../../lib/postgres/remote-role.ts";
import { clock, serverConfig } from "../../harness/local-server.ts";
import { recordingLog } from "../../harness/recording-log.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

const soon = () => ms(clock.now() + 1_000);
const folder = mkdtempSync(join(tmpdir(), "matriarch-role-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function asking(run: RunProgram): PostgresContext {
  return { config: serverConfig(folder, "b", 1), scope: "herd", memberName: "b", log: recordingLog(), clock, run };
}

const psql = (stdout: string, exitCode = 0): PostgresContext => asking(async () => ok({ exitCode, stdout, stderr: "" }));
const never = asking(() => {
  throw new Error("psql is not needed where nobody listens");
});

async function listening(): Promise<FollowTarget> {
  const server = createServer((socket) => void socket.on("error", () => undefined));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it listens on a port");
  return { name: "a", host: "127.0.0.1", port: address.port, slotName: null };
}

const roleOf = async (context: PostgresContext, target: FollowTarget) => (await askRole(context, target, soon())).role;

test("of a primary it is learnt how its commits wait, of a standby not", async () => {
  const target = await listening();
  const answer = (recovery: string) => psql(`${[recovery, "1 (b)", "on"].join("\x1f")}\n`);
  expect((await askRole(answer("f"), target, soon())).synchronous).toEqual({ names: "1 (b)", commit: "on" });
  expect((await askRole(answer("t"), target, soon())).synchronous).toBeNull();
  expect((await askRole(psql("f\n"), target, soon())).synchronous).toBeNull();
});

test("a server that says so is a primary or a standby", async () => {
  const target = await listening();
  expect(await roleOf(psql("f\n"), target)).toBe("primary");
  expect(await roleOf(psql("t\n"), target)).toBe("standby");
});

test("one that accepts and refuses the login, hangs, or talks nonsense may be anything", async () => {
  const target = await listening();
  expect(await roleOf(psql("", 2), target)).toBe("unclear");
  expect(await roleOf(psql("maybe\n"), target)).toBe("unclear");
  const hanging = asking(async () => err({ kind: "timeout", message: "no answer by the deadline" }));
  expect(await roleOf(hanging, target)).toBe("unclear");
});

test("a host that refuses the connection runs none there", async () => {
  const target = await listening();
  await new Promise((resolve) => servers.splice(0)[0]?.close(resolve));
  expect(await roleOf(never, target)).toBe("down");
});

test("an address without a host is silence", async () => {
  const target = { name: "a", host: "no-such-host.invalid", port: 5432, slotName: null };
  expect(await roleOf(never, target)).toBe("silent");
});
