// Goal: scripts/dcs.ts keeps its promises to a shell: the value alone on stdout, words on stderr, the exit status.
// Method: the script itself in a process of its own, against a real Consul.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Consul } from "../harness/consul.ts";
import { CountingProxy } from "../harness/counting-proxy.ts";
import { ownMs } from "../harness/stall.ts";
import { until } from "../harness/wait.ts";

const CASE_TIMEOUT_MS = 60_000;
const SCRIPT = join(import.meta.dir, "../../scripts/dcs.ts");

describe("scripts/dcs.ts", () => {
  let consul: Consul;
  beforeAll(async () => {
    consul = await Consul.start();
  }, CASE_TIMEOUT_MS);
  afterAll(() => consul.stop());

  const start = (args: readonly string[], env: Record<string, string> = {}) =>
    Bun.spawn([process.execPath, SCRIPT, ...args], { env: { ...process.env, ...env }, stdout: "pipe", stderr: "pipe" });
  const bare = async (args: readonly string[], env: Record<string, string> = {}) => {
    const child = start(args, env);
    const [out, complaint, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { out, complaint, status };
  };
  const url = (): string => `consul://127.0.0.1:${consul.httpPort}?token=geheim`;
  const dcs = (...args: string[]) => bare(["-d", url(), ...args]);

  test(
    "what is put is got, listed and deleted again",
    async () => {
      const put = await dcs("put", "/s/demo/k", "ein Wert");
      expect(put).toMatchObject({ status: 0, complaint: "" });
      expect(await dcs("get", "s/demo/k")).toEqual({ out: "ein Wert\n", complaint: "", status: 0 });
      const json = await dcs("--json", "get", "s/demo/k");
      expect(JSON.parse(json.out)).toEqual({ key: "s/demo/k", value: "ein Wert", revision: Number(put.out), session: null });
      expect(await dcs("list", "s/demo/")).toEqual({ out: "s/demo/k\n", complaint: "", status: 0 });
      expect((await dcs("delete", "s/demo/k")).status).toBe(0);
      expect(await dcs("delete", "s/demo/k")).toEqual({ out: "", complaint: "", status: 1 });
      expect(await dcs("get", "s/demo/k")).toEqual({ out: "", complaint: "", status: 1 });
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a condition that does not hold is status 1, one that holds writes",
    async () => {
      const first = (await dcs("put", "s/c", "1", "--if-absent")).out.trim();
      expect(await dcs("put", "s/c", "2", "--if-absent")).toMatchObject({ out: "", status: 1 });
      expect(await dcs("put", "s/c", "2", "--if-revision", "1")).toMatchObject({ out: "", status: 1 });
      expect((await dcs("put", "s/c", "2", "--if-revision", first)).status).toBe(0);
      expect((await dcs("get", "s/c")).out).toBe("2\n");
      expect((await dcs("delete", "s/", "--recursive")).status).toBe(0);
      expect((await dcs("list", "s/")).status).toBe(1);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a key with a ttl vanishes, and watch tells of it as of every other change",
    async () => {
      const watching = start(["-d", url(), "--json", "watch", "w/"]);
      const reader = watching.stdout.getReader();
      let seen = "";
      const until = async (text: string): Promise<void> => {
        while (!seen.includes(text)) seen += new TextDecoder().decode((await reader.read()).value);
      };
      // The watch is only known to stand once it has told of a change.
      const first = until('"value":"first"');
      while (!seen.includes("first")) {
        await dcs("put", "w/k", "first");
        await Promise.race([first, Bun.sleep(300)]);
      }
      await dcs("put", "w/short", "lived", "--ttl", "2");
      await until('{"kind":"delete","key":"w/short"}');
      watching.kill("SIGINT");
      expect(await watching.exited).toBe(0);
      const lines = seen
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { kind: string; key: string });
      expect(lines.at(-2)).toMatchObject({ kind: "put", key: "w/short", value: "lived" });
      expect(lines.at(-1)).toEqual({ kind: "delete", key: "w/short" });
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "wrong words are status 2, a broken configuration 1, a store out of reach 3, and no token is printed",
    async () => {
      for (const args of [[], ["zork"], ["get"], ["-d", "zork", "get", "k"], ["-d", "etcd://h:1?token=geheim", "get", "k"], ["get", "k"]]) {
        const run = await bare(args, { DCS_URL: "" });
        expect([args, run.status, run.out]).toEqual([args, 2, ""]);
        expect(run.complaint).not.toContain("geheim");
      }
      expect((await dcs("put", "k", "v", "--ttl", "-1")).status).toBe(2);
      const broken = join(consul.folder, "broken.yml");
      writeFileSync(broken, "scope: [\n");
      expect(await bare(["-c", broken, "get", "k"])).toMatchObject({ status: 1, out: "" });
      const away = await bare(["get", "k"], { DCS_URL: "consul://127.0.0.1:1?token=geheim" });
      expect(away).toMatchObject({ status: 3, out: "" });
      expect(away.complaint).not.toContain("geheim");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a frozen store is status 3 at the deadline, and an interrupt does not wait for it",
    async () => {
      consul.sigstop();
      expect(await dcs("--timeout", "1.5", "put", "k", "v")).toMatchObject({
        status: 3,
        complaint: expect.stringContaining("did not confirm"),
      });
      const between = await CountingProxy.start(consul.httpPort);
      const hanging = start(["-d", between.url.replace("http:", "consul:"), "--timeout", "300", "get", "k"]);
      await until("its request is out", () => between.requests.length > 0, { withinMs: CASE_TIMEOUT_MS });
      const interruptedAt = performance.now();
      hanging.kill("SIGINT");
      expect(await hanging.exited).toBe(3);
      expect(ownMs(interruptedAt)).toBeLessThan(10_000);
      await between.close();
      consul.sigcont();
      expect((await dcs("put", "k", "v")).status).toBe(0);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "where neither -c, -d nor DCS_URL names a store, the environment does, as for ctl",
    async () => {
      const env = { DCS_URL: "", PATRONI_CONSUL_HOST: `127.0.0.1:${consul.httpPort}` };
      expect((await bare(["put", "s/env", "v"], env)).complaint).toBe("");
      expect(await bare(["get", "s/env"], env)).toEqual({ out: "v\n", complaint: "", status: 0 });
      const wrong = await bare(["get", "s/env"], { DCS_URL: "", PATRONI_RAFT_PARTNER_ADDRS: "'127.0.0.1'" });
      expect(wrong).toMatchObject({ out: "", status: 1, complaint: expect.stringContaining("raft.") });
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "-c takes the store from a node's configuration",
    async () => {
      const file = join(consul.folder, "node.yml");
      writeFileSync(
        file,
        `scope: demo
name: a
consul: {host: "127.0.0.1:${consul.httpPort}"}
restapi: {listen: "127.0.0.1:8008", connect_address: "127.0.0.1:8008"}
postgresql:
  listen: 127.0.0.1:5432
  connect_address: 127.0.0.1:5432
  data_dir: ${consul.folder}/pg
  authentication: {superuser: {username: postgres, password: x}, replication: {username: replicator, password: x}}
`,
      );
      expect((await bare(["-c", file, "put", "from/config", "yes"])).status).toBe(0);
      expect((await dcs("get", "from/config")).out).toBe("yes\n");
    },
    CASE_TIMEOUT_MS,
  );
});
