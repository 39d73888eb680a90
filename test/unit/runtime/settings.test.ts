import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadNodeConfig } from "../../../lib/config/load.ts";
import type { Cluster } from "../../../lib/model/cluster.ts";
import { PATRONI_LIMITS, RAFT_LIMITS } from "../../../lib/model/dynamic-config.ts";
import { revision } from "../../../lib/model/units.ts";
import { LiveSettings } from "../../../lib/runtime/settings.ts";
import { recordingLog } from "../../harness/recording-log.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

async function nodeIn(folder: string, more = "") {
  const file = join(folder, "node.yml");
  writeFileSync(
    file,
    `scope: demo\nname: n1\nrestapi: {listen: "127.0.0.1:8008", connect_address: "127.0.0.1:8008"}\nconsul: {host: "127.0.0.1:8500"}
bootstrap: {dcs: {loop_wait: 3}}\npostgresql: {listen: "127.0.0.1:5432", connect_address: "127.0.0.1:5432", data_dir: ${folder},
  authentication: {superuser: {username: postgres}, replication: {username: rep}}}\n${more}`,
  );
  const loaded = await loadNodeConfig({ path: file, env: {} });
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error));
  return loaded.value;
}

function withConfig(data: Record<string, unknown> | null): Cluster {
  return { config: data === null ? null : { revision: revision(7), data } } as unknown as Cluster;
}

test("a restarted node knows the dynamic configuration before the DCS answers, and keeps it while the key cannot be read", async () => {
  const folder = mkdtempSync(join(tmpdir(), "settings-"));
  folders.push(folder);
  const loaded = await nodeIn(folder);
  const first = new LiveSettings(loaded, recordingLog());
  expect(first.current.dynamic).toMatchObject({ loopWaitMs: 3000, pause: false });
  expect(first.dynamic).toBeNull();
  expect(first.applyCluster(withConfig({ loop_wait: 5, pause: true }))).toBe(true);
  expect(first.applyCluster(withConfig(null))).toBe(false);
  expect(first.current.dynamic).toMatchObject({ loopWaitMs: 5000, pause: true });
  await first.saveDynamic();

  const second = new LiveSettings(loaded, recordingLog());
  expect(second.current.dynamic).toMatchObject({ loopWaitMs: 5000, pause: true });
  expect(second.dynamic).toEqual({ loop_wait: 5, pause: true });
});

test("the floors of the times follow what the store and the members allow, and a value below them is told once", async () => {
  const folder = mkdtempSync(join(tmpdir(), "settings-"));
  folders.push(folder);
  const log = recordingLog();
  const settings = new LiveSettings(await nodeIn(folder), log);
  settings.applyCluster(withConfig({ ttl: 5, loop_wait: 1, retry_timeout: 1 }));
  expect(settings.current.dynamic).toMatchObject({ ttlMs: 20_000, retryTimeoutMs: 3000 });
  const told = (): number => log.lines.filter((line) => line.includes("ttl: 5 is below the minimum; 20 is used")).length;
  expect(told()).toBe(1);
  expect(settings.applyLimits(RAFT_LIMITS)).toBe(true);
  expect(settings.current.dynamic).toMatchObject({ ttlMs: 5000, loopWaitMs: 1000, retryTimeoutMs: 1000 });
  expect(settings.applyLimits({ ...RAFT_LIMITS })).toBe(false);
  expect(settings.applyLimits(PATRONI_LIMITS)).toBe(true);
  expect(settings.current.dynamic).toMatchObject({ ttlMs: 20_000 });
  expect(told()).toBe(2);
});

test("a saved configuration that cannot be read counts as none", async () => {
  const folder = mkdtempSync(join(tmpdir(), "settings-"));
  folders.push(folder);
  const loaded = await nodeIn(folder);
  const saved = join(folder, "patroni.dynamic.json");
  for (const text of ["{half", "[1]", "7"]) {
    writeFileSync(saved, text);
    expect(new LiveSettings(loaded, recordingLog()).current.dynamic).toMatchObject({ loopWaitMs: 3000 });
  }
  const settings = new LiveSettings(loaded, recordingLog());
  await settings.saveDynamic();
  expect(readFileSync(saved, "utf8")).toBe("7");
});

test("a file that is loaded again tells of its warnings, those of before not a second time", async () => {
  const folder = mkdtempSync(join(tmpdir(), "settings-"));
  folders.push(folder);
  const log = recordingLog();
  const settings = new LiveSettings(await nodeIn(folder), log);
  const tags = "tags: {nofailover: false, failover_priority: 0}\n";
  for (let load = 0; load < 2; load += 1) settings.applyFile(await nodeIn(folder, tags));
  const conflict =
    "WARNING: tags.nofailover: Conflicting configuration between nofailover: False and failover_priority: 0. Defaulting to nofailover: False";
  expect(log.lines.filter((line) => line.includes("Conflicting"))).toEqual([conflict]);
});
