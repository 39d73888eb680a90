// Owns the tests of when a configuration is loaded again. What it changes is shown on real nodes.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadNodeConfig } from "../../../lib/config/load.ts";
import { err, ok } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import { NodeConfiguration, type NodeConfigurationOptions } from "../../../lib/runtime/node-configuration.ts";
import { LiveSettings } from "../../../lib/runtime/settings.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { Bench } from "./fenced-node.ts";

const folder = mkdtempSync(join(tmpdir(), "node-configuration-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A node without a file: each reload says that nothing has changed. */
function bench(shutdown = false) {
  const log = recordingLog();
  const context = { state: { requests: { shutdown, restart: false, reinitialize: null } } };
  const parts = { context, log, path: null, env: {}, settings: { loaded: { faults: [], warnings: [] } } };
  return { configuration: new NodeConfiguration(parts as unknown as NodeConfigurationOptions), lines: log.lines };
}

/** A node with a file that can be read again. */
async function reloadable() {
  const node = await new Bench().node("replica");
  const path = join(folder, "node.yml");
  const write = (level: string): void =>
    writeFileSync(
      path,
      `scope: demo\nname: n1\nlog: {level: ${level}}\nconsul: {host: "127.0.0.1:8500"}\nrestapi: {listen: "127.0.0.1:8008", connect_address: "127.0.0.1:8008"}
postgresql: {listen: "127.0.0.1:5432", connect_address: "127.0.0.1:5432", data_dir: ${folder}/data,
  authentication: {superuser: {username: postgres}, replication: {username: rep}}}\n`,
    );
  write("INFO");
  const loaded = await loadNodeConfig({ path, env: {} });
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error));
  const log = { ...recordingLog(), reconfigure: () => undefined };
  const configuration = new NodeConfiguration({
    context: node,
    log,
    path,
    env: {},
    settings: new LiveSettings(loaded.value, log),
    onChange: () => undefined,
    sight: { hooks: { configure: () => undefined } },
    takeOver: async () => undefined,
  } as unknown as NodeConfigurationOptions);
  return { node, log, write, configuration };
}

test("a storm of reloads is at most the one at work and one more, which reads the file after the last that was asked for", async () => {
  const { configuration, lines } = bench();
  const first = configuration.reload();
  await Promise.resolve();
  await Promise.all([first, ...Array.from({ length: 500 }, () => configuration.reload())]);
  expect(lines.length).toBe(2);
  await configuration.reload();
  expect(lines.length).toBe(3);
});

test("a node that shuts down loads nothing again", async () => {
  const { configuration, lines } = bench(true);
  await configuration.reload();
  expect(lines).toEqual(["INFO: shutting down: the configuration is not loaded again"]);
});

test("a reload that meets our own stop is no error: the configuration is written at the start, or once nobody stops any more", async () => {
  const node = await new Bench().node("replica");
  node.state.local.dataDirectory = { kind: "valid", majorVersion: 17 };
  const log = recordingLog();
  const configuration = new NodeConfiguration({ context: node, log } as unknown as NodeConfigurationOptions);
  let [asked, answer]: [number, Awaited<ReturnType<typeof node.postgres.configure>>] = [
    0,
    err({ kind: "unreachable", message: "Connection closed" }),
  ];
  node.postgres.configure = async () => {
    asked += 1;
    return answer;
  };
  const told = async (work: () => unknown): Promise<readonly string[]> => {
    const from = log.lines.length;
    await work();
    return log.lines.slice(from);
  };
  const change = async (): Promise<void> => {
    const { node: own } = node.state.settings;
    const postgresql = { ...own.postgresql, removeDataDirectoryOnRewindFailure: !own.postgresql.removeDataDirectoryOnRewindFailure };
    node.state.settings = { ...node.state.settings, node: { ...own, postgresql } };
    const woken = node.waker.sleepUntil(ms(1_000));
    configuration.tellPostgres();
    await woken;
  };
  expect(await told(change)).toEqual(["ERROR: the configuration of PostgreSQL was not changed: Connection closed"]);
  node.state.lastTask = { kind: "stop", finishedAt: node.clock.now(), ok: true, message: "", failures: 0, plan: null };
  expect(await told(change)).toEqual(["INFO: PostgreSQL is being stopped: its configuration is written at its start"]);
  answer = ok({});
  for (const times of [3, 3]) {
    expect(await told(() => configuration.catchUp())).toEqual([]);
    expect(asked).toBe(times);
  }
});

test("a reload that was asked for and met a stop that was called off, or data in the making, is done as asked for, and once", async () => {
  const { node, configuration } = await reloadable();
  node.state.local.dataDirectory = { kind: "valid", majorVersion: 17 };
  const asked: boolean[] = [];
  let stops = true;
  node.postgres.configure = async (_config, options) => {
    asked.push(options.asked === true);
    return stops ? err({ kind: "unreachable", message: "Connection closed" }) : ok({});
  };
  node.state.lastTask = { kind: "stop", finishedAt: node.clock.now(), ok: true, message: "", failures: 0, plan: null };
  await configuration.reload();
  await configuration.catchUp();
  stops = false;
  await configuration.catchUp();
  await configuration.catchUp();
  expect(asked).toEqual([true, true, true]);
  node.state.local.process = { kind: "running", pid: 10, startTicks: 1, stopped: false };
  node.state.local.dataDirectory = { kind: "half-made", by: "initdb" };
  await configuration.reload();
  expect(asked).toHaveLength(3);
  node.state.local.dataDirectory = { kind: "valid", majorVersion: 17 };
  await configuration.catchUp();
  await configuration.catchUp();
  expect(asked).toEqual([true, true, true, true]);
});

test("a reload of a file that says nothing new is told so, in Patroni's words, and done all the same", async () => {
  const { node, log, write, configuration } = await reloadable();
  node.postgres.configure = async () => ok({});
  const says = async (): Promise<readonly string[]> => {
    const from = log.lines.length;
    await configuration.reload();
    return log.lines.slice(from).filter((line) => line.startsWith("INFO"));
  };
  expect(await says()).toEqual(["INFO: No local configuration items changed.", "INFO: the configuration was loaded again"]);
  write("WARNING");
  expect(await says()).toEqual(["INFO: the configuration was loaded again"]);
});
