// Owns the tests of the quickstart's command line.

import { describe, expect, test } from "bun:test";
import { parseQuickstart } from "../../../../lib/cli/quickstart/arguments.ts";

const start = { kind: "start", folder: null, nodes: null, ports: null, stay: "foreground", store: null, demo: "none" } as const;

describe("the quickstart's command line", () => {
  test("without words it starts in the foreground", () => {
    expect(parseQuickstart([])).toEqual(start);
  });

  test("options of a start are read", () => {
    const words = ["--detach", "--nodes", "5", "--ports", "21000", "--data", "/tmp/x"];
    expect(parseQuickstart(words)).toEqual({ ...start, folder: "/tmp/x", nodes: 5, ports: 21_000, stay: "detached" });
    expect(parseQuickstart(["--consul", "--demo"])).toEqual({ ...start, store: "consul", demo: "takeover" });
  });

  test("everything after psql is psql's, also what looks like an option of ours", () => {
    expect(parseQuickstart(["--data", "/d", "psql", "-c", "select 1", "--keep"])).toEqual({
      kind: "psql",
      folder: "/d",
      rest: ["-c", "select 1", "--keep"],
    });
  });

  test("stop removes the data unless told to keep it", () => {
    expect(parseQuickstart(["stop"])).toEqual({ kind: "stop", folder: null, data: "removed" });
    expect(parseQuickstart(["stop", "--keep"])).toEqual({ kind: "stop", folder: null, data: "kept" });
  });

  test("logs names a node and may follow", () => {
    expect(parseQuickstart(["logs", "node2", "-f"])).toEqual({ kind: "logs", folder: null, node: "node2", follow: true });
  });

  test.each([
    [["--nodes", "0"]],
    [["--nodes", "10"]],
    [["--nodes", "three"]],
    [["--nodes"]],
    [["--ports", "80"]],
    [["--keep"]],
    [["stop", "--detach"]],
    [["status", "--demo"]],
    [["stop", "--consul"]],
    [["stop", "now"]],
    [["logs"]],
    [["logs", "node1", "node2"]],
    [["restart"]],
    [["--unknown"]],
  ])("%p is refused", (words) => {
    expect(() => parseQuickstart(words)).toThrow();
  });
});
