// Claims about the commands around the configuration, run as a process of their own: exit status, output, secrets.

import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { loadNodeConfig } from "../../../lib/config/load.ts";
import { mergeTrees, type Tree } from "../../../lib/config/tree.ts";
import { BASE, newFolder, removeFiles, writeConfigFile } from "./fixtures.ts";

afterAll(removeFiles);

const MODULE = new URL("../../../lib/cli/config-commands.ts", import.meta.url).pathname;
const SCRIPT = `import { runConfigCommand } from ${JSON.stringify(MODULE)};
const { handled, exitCode } = await runConfigCommand(process.argv.slice(1), process.env);
process.exitCode = handled ? exitCode : 99;`;

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Outcome {
  const child = Bun.spawnSync([process.execPath, "-e", SCRIPT, "--", ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: "/home/x", ...env },
  });
  return { status: child.exitCode, out: child.stdout.toString(), err: child.stderr.toString() };
}

const SECRETS: Tree = {
  restapi: { authentication: { username: "u", password: "hush-api" } },
  consul: { token: "hush-token" },
  postgresql: {
    authentication: { superuser: { password: "hush-su" } },
    recovery_conf: { primary_conninfo: "host=a password=hush-conninfo port=1" },
  },
};

describe("--validate-config", () => {
  test("a good file: status 0", () => {
    expect(run(["--validate-config", writeConfigFile(stringify(BASE)), "-i"])).toMatchObject({
      status: 0,
      out: "the configuration is valid\n",
    });
  });

  test("a bad file: status 1, one line for each fault, nothing on stdout", () => {
    const path = writeConfigFile(stringify(mergeTrees(BASE, { log: { level: "loud" }, postgresql: { listen: "x:y" } })));
    const { status, out, err } = run(["--validate-config", path]);
    expect(status).toBe(1);
    expect(out).toBe("");
    expect(
      err
        .trimEnd()
        .split("\n")
        .map((line) => line.split(": ")[0])
        .sort(),
    ).toEqual(["log.level", "postgresql.listen"]);
  });

  test("an unknown option is a warning, and with --strict a failure", () => {
    const path = writeConfigFile(stringify({ ...BASE, colour: "red" }));
    const lenient = run(["--validate-config", path, "-i"]);
    expect(lenient).toMatchObject({ status: 0 });
    expect(lenient.err).toContain("warning: colour: unknown and ignored");
    expect(run(["--validate-config", "--strict", path, "-i"])).toMatchObject({ status: 1 });
  });

  test("a directory that is not PostgreSQL's, and a certificate that is not there, are faults", () => {
    const dataDir = newFolder();
    writeFileSync(join(dataDir, "letter.txt"), "dear");
    const path = writeConfigFile(
      stringify(mergeTrees(BASE, { postgresql: { data_dir: dataDir }, restapi: { certfile: "/nonexistent.crt" } })),
    );
    const { status, err } = run(["--validate-config", path, "-i"]);
    expect(status).toBe(1);
    expect(err).toContain(`postgresql.data_dir: ${dataDir} is not empty and not PostgreSQL's`);
    expect(err).toContain("restapi.certfile: /nonexistent.crt cannot be read: there is no such file");
  });

  test("a taken port is noted, unless told to ignore it", () => {
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("") });
    try {
      const path = writeConfigFile(stringify({ ...BASE, restapi: { listen: `127.0.0.1:${server.port}` } }));
      expect(run(["--validate-config", path]).err).toContain(
        `note: restapi.listen: cannot listen on 127.0.0.1:${server.port} now: the port is taken`,
      );
      expect(run(["--validate-config", path, "--ignore-listen-port"]).err).not.toContain("the port is taken");
    } finally {
      server.stop(true);
    }
  });
});

describe("--print-config", () => {
  test("every value stands beside its source, and no secret can be read", () => {
    const path = writeConfigFile(stringify(mergeTrees(BASE, SECRETS)));
    const { status, out, err } = run(["--print-config", path], { PATRONI_LOG_LEVEL: "DEBUG", PATRONI_REPLICATION_PASSWORD: "hush-repl" });
    expect(status).toBe(0);
    expect(`${out}${err}`).not.toContain("hush");
    expect(out).toContain("  level: DEBUG  # environment PATRONI_LOG_LEVEL\n");
    expect(out).toMatch(/^scope: demo {2}# file:\d+\.yml$/m);
    expect(out).toMatch(/^ttl: 30 {2}# default$/m);
    expect(out).toContain("primary_conninfo: host=a password=*** port=1");
    expect(parse(out, { version: "1.1" })).toMatchObject({ scope: "demo", postgresql: { parameters: { max_connections: "100" } } });
  });

  test("values of the DCS come from the copy beside the data, adjusted ones say so", () => {
    const dataDir = newFolder();
    writeFileSync(
      join(dataDir, "patroni.dynamic.json"),
      JSON.stringify({ ttl: 10, pause: true, postgresql: { parameters: { max_connections: 200 } } }),
    );
    const path = writeConfigFile(stringify(mergeTrees(BASE, { postgresql: { data_dir: dataDir } })));
    const { out, err } = run(["--print-config", path]);
    expect(out).toContain("ttl: 20  # dcs, adjusted\n");
    expect(out).toContain("pause: true  # dcs\n");
    expect(out).toContain('max_connections: "200"  # dcs\n');
    expect(err).toContain("warning: ttl: 10 is below the minimum");
  });
});

describe("--generate-sample-config", () => {
  test("what it writes loads, takes values from the environment, and only its owner can read it", async () => {
    const path = join(newFolder(), "sample.yml");
    expect(run(["--generate-sample-config", path], { PATRONI_SCOPE: "mine", PATRONI_SUPERUSER_PASSWORD: "123" })).toMatchObject({
      status: 0,
      out: "",
    });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const loaded = await loadNodeConfig({ path, env: {} });
    expect(loaded).toMatchObject({ ok: true, value: { config: { scope: "mine", postgresql: { superuser: { password: "123" } } } } });
    const left = loaded.ok ? loaded.value.warnings.map((warning) => warning.path) : [];
    expect(left).toEqual(expect.arrayContaining(["raft.partner_addrs", "raft.password"]));
  });

  test("an existing file is left as it is", () => {
    const path = writeConfigFile("precious: true\n");
    expect(run(["--generate-sample-config", path])).toMatchObject({ status: 1, err: `${path}: exists already; name another file\n` });
    expect(readFileSync(path, "utf8")).toBe("precious: true\n");
  });
});

test("--generate-config says in one line that it cannot connect, without the password", () => {
  const { status, out, err } = run(["--generate-config", "--dsn", "host=127.0.0.1 port=1 user=u password=hush"]);
  expect({ status, out, lines: err.trimEnd().split("\n").length }).toEqual({ status: 1, out: "", lines: 1 });
  expect(err).not.toContain("hush");
});

test("usage errors have status 2; other arguments are not ours", () => {
  expect(run(["--print-config", "--foo"]).status).toBe(2);
  expect(run(["--print-config", "--validate-config"]).status).toBe(2);
  expect(run(["--print-config", "a", "b"]).status).toBe(2);
  expect(run(["node.yml"]).status).toBe(99);
});
