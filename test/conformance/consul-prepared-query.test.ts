// Goal: scripts/prepared-query makes, shows, changes and removes a cluster's prepared queries; what is repeated changes nothing.
// Method: its commands in this process, against a real Consul agent whose DNS is asked.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { runPreparedQuery } from "../../lib/cli/prepared-query/program.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import type { Consul } from "../harness/consul.ts";
import { type ConsulDns, startConsulWithDns } from "../harness/consul-dns.ts";
import { until } from "../harness/wait.ts";

const CASE_TIMEOUT_MS = 60_000;
const SOON = { withinMs: 20_000 };

interface Answer {
  readonly status: number;
  readonly out: string;
  readonly complaint: string;
}

async function run(...words: readonly string[]): Promise<Answer> {
  let out = "";
  let complaint = "";
  const terminal = {
    clock: realClock(),
    env: {},
    out: (text: string) => {
      out += text;
    },
    complain: (text: string) => {
      complaint += text;
    },
  };
  const status = await runPreparedQuery(words, terminal);
  return { status, out, complaint };
}

describe("prepared queries", () => {
  let consul: Consul;
  let dns: ConsulDns;
  beforeAll(async () => {
    ({ consul, dns } = await startConsulWithDns({ config: { datacenter: "east" } }));
  }, CASE_TIMEOUT_MS);
  afterAll(() => consul.stop());

  const query = (...words: readonly string[]) => run("-d", consul.url, "--service", "raddb", ...words);
  const register = async (name: string, port: number, tags: readonly string[]) => {
    const body = JSON.stringify({ ID: name, Name: "raddb", Address: "127.0.0.1", Port: port, Tags: tags });
    expect((await fetch(`${consul.url}/v1/agent/service/register`, { method: "PUT", body })).status).toBe(200);
  };
  const listed = async () => (await (await fetch(`${consul.url}/v1/query`)).json()) as Record<string, unknown>[];

  test(
    "are made once, brought in step by what is asked for next, and gone when removed; DNS answers by them",
    async () => {
      await register("n1", 19_001, ["primary", "master"]);
      await register("n2", 19_002, ["replica"]);
      expect(await query("show")).toMatchObject({ status: 1, out: "raddb-writer: absent\nraddb-reader: absent\n" });
      expect(await query("update")).toMatchObject({ status: 1, complaint: expect.stringContaining("create makes it") as string });
      expect(await query("create")).toMatchObject({ status: 0, out: "raddb-writer: created\nraddb-reader: created\n", complaint: "" });
      expect(await query("create")).toMatchObject({ status: 0, out: "raddb-writer: unchanged\nraddb-reader: unchanged\n" });
      expect(await query("update")).toMatchObject({ status: 0, out: "raddb-writer: unchanged\nraddb-reader: unchanged\n" });
      await until("the writer is in DNS", async () => (await dns.ports("raddb-writer.query.consul")).join() === "19001", SOON);
      await until("the reader is in DNS", async () => (await dns.ports("raddb-reader.query.consul")).join() === "19002", SOON);
      expect((await query("show")).out).toBe(
        "raddb-writer: as wanted; service raddb; tags primary; passing; near _agent; then nobody; DNS TTL 0s\n" +
          "raddb-reader: as wanted; service raddb; tags replica; passing; near _agent; then nobody; DNS TTL 0s\n",
      );
      const more = ["--nearest", "2", "--datacenters", "west,south", "--dns-ttl", "5s", "--reader-tags", "replica,lag-low"];
      expect(await query(...more, "show", "reader")).toMatchObject({ status: 1, out: expect.stringContaining("different") as string });
      const ids = (await listed()).map(({ ID }) => ID);
      expect(await query(...more, "update")).toMatchObject({ status: 0, out: "raddb-writer: updated\nraddb-reader: updated\n" });
      expect((await listed()).map(({ ID }) => ID)).toEqual(ids);
      expect((await query(...more, "show", "reader")).out).toBe(
        "raddb-reader: as wanted; service raddb; tags replica, lag-low; passing; near _agent; then the 2 nearest, west, south; DNS TTL 5s\n",
      );
      expect(await query("remove", "reader")).toMatchObject({ status: 0, out: "raddb-reader: removed\n" });
      expect(await query("remove")).toMatchObject({ status: 0, out: "raddb-writer: removed\nraddb-reader: absent\n" });
      expect(await listed()).toEqual([]);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "have names of their own where that is asked for, in the datacenters that are named; a token bound to one is kept and not shown",
    async () => {
      const wanted = ["--prefix", "db", "--in", "east", "--near", "none"];
      const made = await query(...wanted, "--json", "create", "writer");
      expect(JSON.parse(made.out)).toMatchObject([{ name: "db-writer", datacenter: "east", outcome: "created", error: null }]);
      const [found = {}] = await listed();
      const bound = { ...found, Token: "bound-to-it" };
      expect((await fetch(`${consul.url}/v1/query/${found["ID"]}`, { method: "PUT", body: JSON.stringify(bound) })).status).toBe(200);
      expect((await query(...wanted, "--dns-ttl", "1s", "update", "writer")).out).toBe("db-writer in east: updated\n");
      expect((await listed())[0]).toMatchObject({ Token: "bound-to-it", DNS: { TTL: "1s" } });
      const shown = await query(...wanted, "--json", "show", "writer");
      expect([shown.status, JSON.parse(shown.out)[0].outcome]).toEqual([1, "different"]);
      expect(shown.out).not.toContain("bound-to-it");
      const elsewhere = await run("-d", consul.url, "--service", "raddb", "--in", "nowhere", "show", "writer");
      expect(elsewhere.complaint).toContain("raddb-writer in nowhere");
      expect(elsewhere.status).not.toBe(0);
    },
    CASE_TIMEOUT_MS,
  );

  test("words that mean nothing are refused with status 2, and an agent that is away is status 3", async () => {
    const refused: readonly (readonly string[])[] = [
      [],
      ["frobnicate"],
      ["show", "everything"],
      ["--nearest", "some", "show"],
      ["--dns-ttl", "5", "show"],
      ["--datacenters", "a,,b", "show"],
      ["-c", "node.yml", "show"],
    ];
    for (const words of refused) expect([words, (await query(...words)).status]).toEqual([words, 2]);
    expect((await run("-d", consul.url, "show")).complaint).toContain("--service NAME");
    expect((await run("-d", "http://127.0.0.1:1", "--service", "raddb", "--timeout", "5", "show", "writer")).status).toBe(3);
  });
});
