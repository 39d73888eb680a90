// Owns the tests of when a configuration is loaded again. What it changes is shown on real nodes.

import { expect, test } from "bun:test";
import { NodeConfiguration, type NodeConfigurationOptions } from "../../../lib/runtime/node-configuration.ts";
import { recordingLog } from "../../harness/recording-log.ts";

/** A node without a file: each reload says that nothing has changed. */
function bench(shutdown = false) {
  const log = recordingLog();
  const context = { state: { requests: { shutdown, restart: false, reinitialize: null } } };
  const parts = { context, log, path: null, env: {}, settings: { loaded: { faults: [], warnings: [] } } };
  return { configuration: new NodeConfiguration(parts as unknown as NodeConfigurationOptions), lines: log.lines };
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
