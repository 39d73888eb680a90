// Owns the tests of the quickstart's parts that start nothing but a sleeping shell: ports, state file, table, processes.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFolders, defaultFolder, pathsOf, removeFolders } from "../../../../lib/cli/quickstart/folder.ts";
import { keptPorts, newPorts } from "../../../../lib/cli/quickstart/port-plan.ts";
import { choosePorts } from "../../../../lib/cli/quickstart/ports.ts";
import { askToStop, bootId, identify, killRun, membersOf, type ProcessId } from "../../../../lib/cli/quickstart/processes.ts";
import { drawTable } from "../../../../lib/cli/quickstart/report.ts";
import { claimState, type QuickstartState, readState, writeState } from "../../../../lib/cli/quickstart/state.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "quickstart-unit."));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const state: QuickstartState = {
  version: 1,
  runId: "0123456789abcdef",
  bootId: bootId(),
  phase: "starting",
  keep: false,
  foreground: null,
  passwords: { superuser: "s", replication: "r", raft: "p" },
  consul: { httpPort: 1, serverPort: 2, serfPort: 3, process: null },
  nodes: [{ name: "node1", postgresPort: 4, apiPort: 5, raftPort: null, process: { pid: 99, startTicks: 7 } }],
};

describe("ports", () => {
  const listen = (port: number) =>
    new Promise<Server>((resolve, reject) => {
      const server = createServer();
      server.once("error", reject);
      server.listen(port, "127.0.0.1", () => resolve(server));
    });
  const portOf = (server: Server) => (server.address() as { port: number }).port;

  test("a taken port gives way to the next free one, and no port is given twice", async () => {
    const taken = await listen(0);
    const port = portOf(taken);
    const choices = await choosePorts([
      { what: "a", port },
      { what: "b", port: port + 1 },
      { what: "c", port: port + 1 },
    ]);
    taken.close();
    const chosen = choices.map((choice) => choice.chosen);
    expect(chosen).not.toContain(port);
    expect(new Set(chosen).size).toBe(3);
    expect(chosen[0]).not.toBe(port + 1);
  });
});

describe("the folder", () => {
  const nobody = { uid: null, gid: null };

  test("goes with the default's parent where the quickstart made that", () => {
    const paths = pathsOf(join(folder, "matriarch/quickstart"));
    createFolders(paths, nobody);
    removeFolders(paths);
    expect(existsSync(join(folder, "matriarch"))).toBe(false);
    expect(existsSync(folder)).toBe(true);
  });

  test.skipIf(process.getuid?.() !== 0)("leaves a parent that belongs to somebody else, as the Debian package's does", () => {
    mkdirSync(join(folder, "matriarch"));
    chownSync(join(folder, "matriarch"), 65_534, 65_534);
    const paths = pathsOf(join(folder, "matriarch/quickstart"));
    createFolders(paths, nobody);
    removeFolders(paths);
    expect(existsSync(paths.folder)).toBe(false);
    expect(existsSync(join(folder, "matriarch"))).toBe(true);
  });
});

describe("the plan of ports", () => {
  test("a block holds each server's port once, over either store", async () => {
    const raft = await newPorts({ count: 3, first: 20_900, store: "raft", say: () => {} });
    expect(raft.consul).toBeNull();
    expect(new Set(raft.nodes.flatMap((node) => [node.postgresPort, node.apiPort, node.raftPort])).size).toBe(9);
    const consul = await newPorts({ count: 3, first: 20_900, store: "consul", say: () => {} });
    expect(consul.nodes.map((node) => node.raftPort)).toEqual([null, null, null]);
    expect(consul.consul).not.toBeNull();
  });

  test("a kept run's taken Raft port is an error: the other members know that one", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const raftPort = (server.address() as { port: number }).port;
    const kept = {
      ...state,
      consul: null,
      nodes: state.nodes.map((node) => ({ ...node, postgresPort: 20_990, apiPort: 20_991, raftPort })),
    };
    await expect(keptPorts(kept)).rejects.toThrow(`port ${raftPort} of node1's Raft member is taken`);
    server.close();
  });
});

describe("state file", () => {
  test("what is written is read again, and nobody else may read it", () => {
    writeState(folder, state);
    expect(readState(folder)).toEqual(state);
    expect(statSync(join(folder, "state.json")).mode & 0o777).toBe(0o600);
  });

  test("a run over the Raft, and one from before there was any, are read", () => {
    const raft = { ...state, consul: null, nodes: state.nodes.map((node) => ({ ...node, raftPort: 6 })) };
    writeState(folder, raft);
    expect(readState(folder)).toEqual(raft);
    const { raft: _, ...passwords } = state.passwords;
    const nodes = state.nodes.map(({ raftPort: _port, ...node }) => node);
    writeFileSync(join(folder, "state.json"), JSON.stringify({ ...state, passwords, nodes }));
    expect(readState(folder)).toEqual({ ...state, passwords: { ...state.passwords, raft: "" } });
  });

  test("only one of two claims a folder", () => {
    expect(claimState(folder, state)).toBe(true);
    expect(claimState(folder, { ...state, runId: "fedcba9876543210" })).toBe(false);
    expect(readState(folder)?.runId).toBe(state.runId);
  });

  test("no file is no quickstart", () => {
    expect(readState(folder)).toBeNull();
  });

  test.each([
    ["half of it", '{"version": 1, "runId'],
    ["somebody else's", "{}"],
    ["a pid that would signal a group", JSON.stringify({ ...state, foreground: { pid: -1, startTicks: 1 } })],
  ])("%s is refused by name", (_, text) => {
    writeFileSync(join(folder, "state.json"), text);
    expect(() => readState(folder)).toThrow(join(folder, "state.json"));
  });
});

describe("folder", () => {
  test("it is where the system keeps such things", () => {
    expect(defaultFolder({}, 0)).toBe("/var/lib/matriarch/quickstart");
    expect(defaultFolder({ XDG_STATE_HOME: "/s" }, 1000)).toBe("/s/matriarch/quickstart");
    expect(defaultFolder({ XDG_STATE_HOME: "relative" }, 1000)).toEndWith("/.local/state/matriarch/quickstart");
  });

  test("a new one is closed to others, and one with other things in it is refused", () => {
    const fresh = pathsOf(join(folder, "new"));
    createFolders(fresh, { uid: null, gid: null });
    expect(statSync(fresh.folder).mode & 0o077).toBe(0);
    expect(statSync(fresh.run).mode & 0o077).toBe(0);
    mkdirSync(join(folder, "used/photos"), { recursive: true });
    expect(() => createFolders(pathsOf(join(folder, "used")), { uid: null, gid: null })).toThrow("photos");
  });
});

describe("processes", () => {
  /** A shell with a child; both sleep. */
  const startFamily = async (environment: Record<string, string>): Promise<ProcessId> => {
    const child = spawn("sh", ["-c", "sleep 60 & echo ready; wait"], {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, ...environment },
    });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    const id = identify(child.pid ?? 0);
    if (id === null) throw new Error("the shell ended");
    return id;
  };
  const noMark = null;

  test("a run is its processes and their descendants, and all of them are killed", async () => {
    const shell = await startFamily({});
    expect(membersOf([shell], noMark)).toHaveLength(2);
    expect(await killRun([shell], noMark)).toEqual([]);
    expect(identify(shell.pid)).toBeNull();
  });

  test("a process with the same pid and another start time is left alone", async () => {
    const shell = await startFamily({});
    const other = { ...shell, startTicks: shell.startTicks + 1 };
    expect(membersOf([other], noMark)).toEqual([]);
    await killRun([other], noMark);
    expect(identify(shell.pid)).toEqual(shell);
    await killRun([shell], noMark);
  });

  test("a process that nobody wrote down is found by the mark in its environment", async () => {
    const shell = await startFamily({ QUICKSTART_RUN_ID: "unit-1" });
    const mark = { environment: "QUICKSTART_RUN_ID=unit-1", folder };
    expect(membersOf([], mark).map((entry) => entry.pid)).toContain(shell.pid);
    expect(membersOf([], { ...mark, environment: "QUICKSTART_RUN_ID=unit-10" })).toEqual([]);
    await killRun([], mark);
    expect(identify(shell.pid)).toBeNull();
  });

  test("a stopped process that is asked to end is woken so that it can", async () => {
    const shell = await startFamily({});
    process.kill(shell.pid, "SIGSTOP");
    const [member] = membersOf([shell], noMark).filter((entry) => entry.pid !== shell.pid);
    expect(await askToStop([shell], 2_000)).toEqual([]);
    if (member !== undefined) await killRun([member], noMark);
  });
});

test("the table looks as patronictl's", () => {
  const view = {
    members: [
      {
        name: "node2",
        role: "replica",
        state: "streaming",
        host: "127.0.0.1",
        port: 19002,
        timeline: 1,
        receive_lsn: "0/4000000",
        receive_lag: 0,
        replay_lsn: "0/4000000",
        replay_lag: 3_145_728,
      },
      { name: "node1", role: "leader", state: "running", host: "127.0.0.1", port: 19001, timeline: 1 },
    ],
  };
  expect(drawTable(view, "7710744159307945845")).toBe(
    [
      "+ Cluster: quickstart (7710744159307945845) -----+----+-------------+-----+------------+-----+",
      "| Member | Host            | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag |",
      "+--------+-----------------+---------+-----------+----+-------------+-----+------------+-----+",
      "| node1  | 127.0.0.1:19001 | Leader  | running   |  1 |             |     |            |     |",
      "| node2  | 127.0.0.1:19002 | Replica | streaming |  1 |   0/4000000 |   0 |  0/4000000 |   3 |",
      "+--------+-----------------+---------+-----------+----+-------------+-----+------------+-----+",
    ].join("\n"),
  );
});
