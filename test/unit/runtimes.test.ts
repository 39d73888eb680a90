// Goal: what needs Bun alone stays in few files, each with its reason: anything else can run elsewhere (test/full/deno.test.ts does it).

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "../..");

/** Files of the product that import a module of Bun's own, and what for. */
const BUN_ALONE: Readonly<Record<string, string>> = {
  "lib/cli/quickstart/demo.ts": "its client for PostgreSQL",
  "lib/dcs/raft/transport/tcp-connection.ts": "a type of its sockets",
  "lib/dcs/raft/transport/tcp-network.ts": "types of its sockets",
  "lib/postgres/connection.ts": "its client for PostgreSQL",
  "lib/postgres/postmaster-exit-worker.ts": "libc: pidfd, eventfd, poll",
  "lib/postgres/watchdog/libc.ts": "libc: FIFOs, ioctl",
  "lib/runtime/clock.ts": "libc: the boot clock",
  "lib/runtime/log-sink.ts": "libc: writes that do not wait",
  "lib/runtime/run-lock.ts": "libc: flock",
  "lib/runtime/systemd-notify.ts": "libc: datagrams to systemd",
};

test("only the named files import a module of Bun's own", () => {
  const found = ["lib", "workers"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => /^import [^;]*from "bun(:[a-z]+)?";/m.test(readFileSync(path, "utf8")))
      .map((path) => relative(ROOT, path)),
  );
  expect(found.sort()).toEqual(Object.keys(BUN_ALONE).sort());
});
