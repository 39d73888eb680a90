// Goal: with certificates in the raft section members talk to each other and to operators that show one of the same authority;
// whoever shows none is refused, with one line.
// Method: three nodes with certificates of one authority and encrypted keys; the raft command, and connections that lack something.

import { afterAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ConnectionOptions, connect } from "node:tls";
import { copyFor, makeAuthority } from "../harness/certificates.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { runRaftCommand } from "../harness/raft-command.ts";
import { RAFT_PASSWORD } from "../harness/store-sight.ts";

const KEY_PASSWORD = "of the key alone";

afterAll(() => TestCluster.stopAll());

test("members and operators with certificates are served; without one, with a stranger's, or without TLS nobody is", async () => {
  const [authority, foreign] = [makeAuthority(), makeAuthority()];
  const [own, strange] = [authority.issue("node"), foreign.issue("stranger")];
  const encrypted = authority.encrypt(own.key, KEY_PASSWORD);
  const cluster = await TestCluster.start({ store: "raft", start: false });
  try {
    await cluster.during(async () => {
      for (const node of cluster.nodes) {
        const files = { cafile: copyFor(node, authority.ca), certfile: copyFor(node, own.cert), keyfile: copyFor(node, encrypted) };
        node.editConfig((config) => {
          const { password: _, ...section } = config["raft"] as Tree;
          config["raft"] = { ...section, ...files, keyfile_password: KEY_PASSWORD };
        });
        node.start();
      }
      const leader = await cluster.untilHealthy();
      const addresses = cluster.nodes.map(({ place }) => `${place.host}:${place.raftPort}`);
      const status = async (section: Tree) => {
        const file = join(cluster.folder, "operator.yml");
        writeFileSync(file, JSON.stringify({ raft: { partner_addrs: addresses, ...section } }));
        const said = await runRaftCommand(["-c", file, "--timeout", "5", "--json", "status"], { env: { PATH: process.env["PATH"] ?? "" } });
        return { status: said.status, members: said.status === 0 ? (JSON.parse(said.out) as readonly RaftRow[]) : [] };
      };
      const operator = await status({ cafile: authority.ca, certfile: own.cert, keyfile: own.key });
      expect(operator.status).toBe(0);
      expect(operator.members.map(({ state }) => state)).toEqual(["serving", "serving", "serving"]);
      const terms = operator.members.map(({ term }) => term);

      const ca = readFileSync(authority.ca, "utf8");
      const [cert, key] = [readFileSync(strange.cert, "utf8"), readFileSync(strange.key, "utf8")];
      expect(await refusedLine(leader, () => knock(leader, { ca }))).toMatch(/: TLS failed/);
      expect(await refusedLine(leader, () => knock(leader, { ca, cert, key }))).toMatch(/: TLS failed/);
      const from = cluster.nodes.map((node) => node.log.length);
      expect((await status({ password: RAFT_PASSWORD })).status).toBe(3);
      for (const [index, node] of cluster.nodes.entries()) {
        await node.untilLogs("raft: refused a connection from", { withinMs: 30_000, from: from[index] ?? 0 });
        expect(complaints(node, from[index] ?? 0)).toHaveLength(1);
      }

      const after = await status({ cafile: authority.ca, certfile: own.cert, keyfile: own.key });
      expect(after.members.map(({ term }) => term)).toEqual(terms);
      expect(await cluster.untilHealthy()).toBe(leader);
    });
  } finally {
    await cluster.stop();
    authority.remove();
    foreign.remove();
  }
}, 180_000);

interface RaftRow {
  readonly state: string;
  readonly term: number;
}

/** What the node says about the connections that `act` makes: one line. */
async function refusedLine(node: ClusterNode, act: () => Promise<void>): Promise<string> {
  const from = node.log.length;
  await act();
  await node.untilLogs("raft: refused a connection from", { withinMs: 30_000, from });
  const said = complaints(node, from);
  expect(said).toHaveLength(1);
  return said[0] ?? "";
}

/** A TLS connection to the node's member; resolves when that has ended it. Throws where it stays open. */
async function knock({ place }: ClusterNode, tls: ConnectionOptions): Promise<void> {
  const socket = connect({ host: place.host, port: place.raftPort, servername: "localhost", ...tls });
  const ended = new Promise<"ended">((resolve) => {
    // An alert of the other side is an error here; it closes as well.
    socket.once("error", () => undefined);
    socket.once("close", () => resolve("ended"));
  });
  expect(await Promise.race([ended, Bun.sleep(30_000).then(() => "open")])).toBe("ended");
}

function complaints(node: ClusterNode, from: number): readonly string[] {
  return node.log
    .slice(from)
    .split("\n")
    .filter((line) => / (WARNING|ERROR|CRITICAL): /.test(line));
}
