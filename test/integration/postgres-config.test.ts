// Goal: --generate-config makes of a server that runs a file with which a node takes it over: its folders, access rules and settings.
// Method: one real server with settings of its own, the function behind the option, and the file loaded as a node loads it.

import { afterAll, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateConfig } from "../../lib/config/generate.ts";
import { loadNodeConfig } from "../../lib/config/load.ts";
import type { Result } from "../../lib/model/result.ts";
import { discard, newServer, within } from "../harness/local-server.ts";
import { serverPorts } from "../harness/ports.ts";
import { describeUnprivileged, scratchFolder } from "../harness/unprivileged.ts";

const TEST_TIMEOUT_MS = 60_000;
const [PORT = 0] = await serverPorts(1);
const MACHINE = { hostname: "host-a", address: "127.0.0.1" };

function value<T>(result: Result<T, unknown>): T {
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value;
}

describeUnprivileged("a configuration made of a server", { file: import.meta.path, timeoutMs: TEST_TIMEOUT_MS }, () => {
  const folder = scratchFolder("matriarch-generate");
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("names its folders, rules and settings, and loads; a password stands where it belongs alone", async () => {
    const server = newServer(folder, "old", PORT);
    const { config } = server;
    writeFileSync(join(server.dataDir, "postgresql.conf"), "work_mem = '5MB'\n", { flag: "a" });
    try {
      const never = new AbortController().signal;
      value(
        await server.postgresql.start({
          role: "primary",
          follow: null,
          synchronousStandbyNames: null,
          deadline: within(30_000),
          signal: never,
        }),
      );
      const env = { PATRONI_SCOPE: "demo", PATRONI_REPLICATION_USERNAME: "copier", PATRONI_REPLICATION_PASSWORD: "quiet" };
      const text = value(await generateConfig(`host=127.0.0.1 port=${PORT} user=postgres password=hush`, MACHINE, env));
      expect(text.split("hush").length).toBe(2);
      const path = join(folder, "node.yml");
      writeFileSync(path, text, { mode: 0o600 });
      const loaded = value(await loadNodeConfig({ path, env: {} }));
      expect(loaded.config).toMatchObject({
        scope: "demo",
        name: "host-a",
        bootstrap: { dcs: { postgresql: { parameters: { work_mem: "5MB", wal_level: "replica", max_connections: "100" } } } },
        postgresql: {
          listenHosts: ["127.0.0.1"],
          port: PORT,
          dataDir: server.dataDir,
          binDir: config.binDir,
          pgHba: config.pgHba,
          superuser: { username: "postgres", password: "hush" },
          replication: { username: "copier", password: "quiet" },
        },
      });
      // What nobody can know is marked, and told when the file is loaded.
      expect(JSON.stringify(loaded.warnings)).toContain("FIXME");
    } finally {
      await discard(server);
    }
  });
});
