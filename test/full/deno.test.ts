// Goal: what talks to the store alone does not need Bun: the DCS scripts and the watch worker run under Deno as well, and both runtimes see
// the same.
// Method: Deno from npm, the import map of scripts/deno, a real Consul; what Bun writes Deno reads, and the other way round.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { Consul } from "../harness/consul.ts";
import { until } from "../harness/wait.ts";

const PRODUCT = resolve(import.meta.dir, "../..");
const FETCH_WITHIN_MS = 180_000;
const DENO = join(PRODUCT, ".cache/deno/bin/deno");
const FLAGS = ["--allow-all", "--node-modules-dir=manual", "--no-lock", "--no-remote", "--unstable-raw-imports"];
const RUN = ["run", ...FLAGS, "--import-map", join(PRODUCT, "scripts/deno/import-map.json")];

const fetched = spawnSync(join(PRODUCT, "scripts/suite/get-deno"), { encoding: "utf8", timeout: FETCH_WITHIN_MS });
if (fetched.status !== 0) console.log(`skipped: ${fetched.stderr.trim().split("\n").at(-1)}`);

let consul: Consul;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "deno-"));
  consul = await Consul.start();
}, 60_000);

afterAll(async () => {
  await consul.stop();
  rmSync(folder, { recursive: true, force: true });
});

const environment = () => ({ ...process.env, DENO_DIR: join(folder, "cache"), DENO_NO_UPDATE_CHECK: "1", HOME: folder });

function ran(program: string, words: readonly string[]): { readonly status: number | null; readonly text: string } {
  const ended = spawnSync(program, [...words], { cwd: PRODUCT, encoding: "utf8", env: environment() });
  return { status: ended.status, text: `${ended.stdout}${ended.stderr}` };
}

describe.skipIf(fetched.status !== 0)("under Deno", () => {
  const url = () => consul.url.replace(/^http/, "consul");
  const deno = (...words: readonly string[]) => ran(DENO, [...RUN, "scripts/dcs.ts", "-d", url(), ...words]);
  const bun = (...words: readonly string[]) => ran(process.execPath, ["run", "scripts/dcs.ts", "-d", url(), ...words]);

  test("keys are put, read, listed and deleted, with the conditions and exit statuses of Bun", () => {
    expect(deno("put", "service/demo/k", "from deno").status).toBe(0);
    expect(bun("get", "service/demo/k")).toEqual({ status: 0, text: "from deno\n" });
    expect(bun("put", "service/demo/l", "from bun").status).toBe(0);
    expect(deno("get", "service/demo/l")).toEqual({ status: 0, text: "from bun\n" });
    for (const words of [
      ["list", "service/demo/"],
      ["put", "--if-absent", "service/demo/k", "x"],
      ["get", "service/demo/nothing"],
    ]) {
      expect([words, deno(...words)]).toEqual([words, bun(...words)]);
    }
    expect(deno("delete", "service/demo/k").status).toBe(0);
    expect(bun("get", "service/demo/k").status).toBe(1);
  });

  test("the watch worker prints what changes, and ends on a signal", async () => {
    const file = join(folder, "node.yml");
    const authentication = { superuser: { username: "postgres" }, replication: { username: "replicator" } };
    const postgresql = { listen: "127.0.0.1:1", data_dir: join(folder, "data"), authentication };
    const restapi = { listen: "127.0.0.1:2", connect_address: "127.0.0.1:2" };
    const section = { host: new URL(consul.url).host };
    writeFileSync(file, stringify({ scope: "demo", name: "a", consul: section, restapi, postgresql }), { mode: 0o600 });
    const child = spawn(DENO, [...RUN, "workers/watch.ts", file], { cwd: PRODUCT, env: environment(), stdio: ["ignore", "pipe", "pipe"] });
    let [out, complaints] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      complaints += chunk.toString();
    });
    const ended = new Promise<number | null>((done) => child.once("exit", done));
    try {
      await until("its first line", () => out.includes("\n"), { withinMs: 30_000 });
      expect(bun("put", "service/demo/initialize", "7000000000000000001").status).toBe(0);
      await until("the change", () => out.includes("7000000000000000001"), { withinMs: 30_000 });
      for (const line of out.trim().split("\n")) expect(typeof JSON.parse(line)).toBe("object");
    } catch (error) {
      throw new Error(`${String(error)}\n${out}\n${complaints}`);
    } finally {
      child.kill("SIGTERM");
    }
    expect(await ended).toBe(0);
  }, 90_000);
});
