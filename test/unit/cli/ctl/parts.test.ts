// The parts of ctl that need no cluster: connection strings, diffs, appointments, questions, the command line itself.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readScheduled, timestamp } from "../../../../lib/cli/ctl/appointment.ts";
import { connectionString } from "../../../../lib/cli/ctl/commands/dsn.ts";
import { unifiedDiff } from "../../../../lib/cli/ctl/config-diff.ts";
import { findConfiguration } from "../../../../lib/cli/ctl/configuration.ts";
import type { ReadCluster } from "../../../../lib/cli/ctl/context.ts";
import { editText } from "../../../../lib/cli/ctl/editor.ts";
import { yamlLine, yamlText } from "../../../../lib/cli/ctl/formats.ts";
import { runCtl } from "../../../../lib/cli/ctl/program.ts";
import { ask, askYes } from "../../../../lib/cli/ctl/prompt.ts";
import { CtlAborted } from "../../../../lib/cli/ctl/refusal.ts";
import type { MemberView } from "../../../../lib/core/cluster-view.ts";
import { scriptedTerminal } from "./scripted-terminal.ts";

describe("a connection string", () => {
  const members: readonly MemberView[] = [
    { name: "a", role: "replica", state: "streaming", host: "10.0.0.1", port: 5432 },
    { name: "b", role: "leader", state: "running", host: "fd00::1", port: 5433 },
    { name: "c", role: "replica", state: "streaming", host: "c.example", port: 5432, tags: { noloadbalance: true } },
    { name: "d", role: "replica", state: "creating replica" },
  ];
  const read = { scope: "demo", view: { scope: "demo", members } } as unknown as ReadCluster;

  test("of all begins with the leader, of replicas with those that take load", () => {
    expect(connectionString(read, { all: true })).toBe(
      "host=fd00::1,10.0.0.1,c.example port=5433,5432,5432 target_session_attrs=read-write",
    );
    expect(connectionString(read, { all: true, role: "replica" })).toBe(
      "host=10.0.0.1,fd00::1 port=5432,5433 target_session_attrs=prefer-standby",
    );
    expect(connectionString(read, { all: true, role: "any" })).toEndWith("target_session_attrs=any");
  });

  test("of one is the leader's, or that of the role or the name", () => {
    expect(connectionString(read, {})).toBe("host=fd00::1 port=5433");
    expect(connectionString(read, { role: "replica" })).toBe("host=10.0.0.1 port=5432");
    expect(connectionString(read, { member: "c" })).toBe("host=c.example port=5432");
  });

  test("is refused where nobody fits, or where the flags contradict each other", () => {
    expect(() => connectionString(read, { member: "x" })).toThrow("Can not find a suitable member");
    expect(() => connectionString(read, { member: "d" })).toThrow("Can not find a suitable member");
    expect(() => connectionString(read, { role: "standby-leader" })).toThrow("Can not find a suitable member");
    expect(() => connectionString(read, { role: "any", member: "a" })).toThrow("mutually exclusive");
    expect(() => connectionString(read, { all: true, member: "a" })).toThrow("mutually exclusive");
  });

  test("takes no option from what a member published as its host", () => {
    const odd = [{ name: "a", role: "leader", state: "running", host: "x sslmode='disable", port: 1 }] as const;
    const text = connectionString({ scope: "demo", view: { scope: "demo", members: odd } } as unknown as ReadCluster, {});
    expect(text).toBe("host='x sslmode=\\'disable' port=1");
  });
});

describe("a diff", () => {
  test("is the unified one, as patronictl shows it", () => {
    const before =
      "loop_wait: 2\nmaximum_lag_on_failover: 1048576\npostgresql:\n  parameters:\n    max_connections: 50\n  use_pg_rewind: true\nretry_timeout: 3\nttl: 20\n";
    const after = before.replace("loop_wait: 2", "loop_wait: 3").replace("max_connections: 50", "max_connections: 60");
    expect(unifiedDiff(before, after)).toBe(`--- 
+++ 
@@ -1,8 +1,8 @@
-loop_wait: 2
+loop_wait: 3
 maximum_lag_on_failover: 1048576
 postgresql:
   parameters:
-    max_connections: 50
+    max_connections: 60
   use_pg_rewind: true
 retry_timeout: 3
 ttl: 20
`);
    expect(unifiedDiff(before, before)).toBe("");
    expect(unifiedDiff("a: 1\n", "a: 2\n")).toBe("--- \n+++ \n@@ -1 +1 @@\n-a: 1\n+a: 2\n");
  });
});

describe("YAML", () => {
  test("is sorted, and keeps texts that look like something else as texts", () => {
    expect(yamlText({ b: ["x", { c: 1 }], a: "on", d: "0644", e: true, f: null })).toBe(
      "a: 'on'\nb:\n- x\n- c: 1\nd: '0644'\ne: true\nf: null\n",
    );
    expect(yamlLine({ clonefrom: true, datacenter: "dc 1" })).toBe("{clonefrom: true, datacenter: dc 1}");
  });
});

describe("an appointment", () => {
  test("is now, or a time with its zone", () => {
    expect(readScheduled("now")).toBeNull();
    expect(readScheduled("2030-01-01T00:00Z")).toBe("2030-01-01T00:00:00+00:00");
    expect(readScheduled("2030-01-01T00:00+02")).toBe("2030-01-01T00:00:00+02:00");
    expect(() => readScheduled("garbage")).toThrow("Unable to parse scheduled timestamp (garbage)");
  });

  test("without a zone it is one of this machine's", () => {
    const at = new Date(2030, 6, 1, 10, 0);
    expect(Date.parse(readScheduled("2030-07-01T10:00") ?? "")).toBe(at.getTime());
  });

  test("an outcome is stamped with hundred thousandths", () => {
    expect(timestamp(new Date(2026, 10, 21, 23, 27, 50, 268).getTime())).toBe("2026-11-21 23:27:50.26800");
  });
});

describe("a question", () => {
  test("has a default, and ends with the input", async () => {
    const terminal = scriptedTerminal({ input: ["", "n2"] });
    expect(await ask(terminal, "Primary", "n1")).toBe("n1");
    expect(await ask(terminal, "Primary", "n1")).toBe("n2");
    await expect(ask(terminal, "Primary", "n1")).rejects.toBeInstanceOf(CtlAborted);
    expect(terminal.said.out).toBe("Primary [n1]: Primary [n1]: Primary [n1]: \n");
  });

  test("of yes or no is asked again after nonsense, but not for ever", async () => {
    expect(await askYes(scriptedTerminal({ input: ["x", "Y"] }), "Sure?")).toBe(true);
    expect(await askYes(scriptedTerminal({ input: [""] }), "Sure?")).toBe(false);
    await expect(askYes(scriptedTerminal({ input: Array.from({ length: 50 }, () => "x") }), "Sure?")).rejects.toBeInstanceOf(CtlAborted);
  });
});

describe("the editor", () => {
  test("may be a command with arguments; its failure is told", async () => {
    const env = { EDITOR: "sed -i s/1/2/" };
    expect(await editText("ttl: 1\n", { name: "demo", env })).toBe("ttl: 2\n");
    await expect(editText("ttl: 1\n", { name: "demo", env: { EDITOR: "false" } })).rejects.toThrow("Editor exited with return code 1");
  });
});

describe("the configuration", () => {
  test("-d lays its parts over the file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ctl-test-"));
    try {
      const file = join(folder, "patronictl.yaml");
      writeFileSync(file, "scope: demo\nnamespace: /ns/\nconsul: {host: 'a:1', token: t, scheme: https}\nctl: {insecure: on}\n");
      const plain = await findConfiguration({ configFile: file }, {});
      expect([plain.consul?.url, plain.scope, plain.namespace, plain.ctl.insecure]).toEqual(["https://a:1", "demo", "ns", true]);
      const other = await findConfiguration({ configFile: file, dcsUrl: "consul://b:2/other" }, {});
      expect([other.consul?.url, other.consul?.token, other.namespace]).toEqual(["https://b:2", "t", "other"]);
      const samePort = await findConfiguration({ configFile: file, dcsUrl: "consul://b" }, {});
      expect(samePort.consul?.url).toBe("https://b:1");
      const noStore = join(folder, "none.yaml");
      writeFileSync(noStore, "scope: demo\n");
      expect((await findConfiguration({ configFile: noStore, dcsUrl: "consul://b:2" }, {})).consul?.url).toBe("http://b:2");
      await expect(findConfiguration({ configFile: noStore }, {})).rejects.toThrow("no store is configured");
      const fromEnv = await findConfiguration({}, { PATRONICTL_CONFIG_FILE: file, DCS_URL: "consul://c:3" });
      expect([fromEnv.scope, fromEnv.consul?.url]).toEqual(["demo", "https://c:3"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("-d raft:// takes the members from the URL, and the password from the file, the environment or the URL", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ctl-test-"));
    try {
      const file = join(folder, "node.yml");
      writeFileSync(file, "scope: demo\nraft: {self_addr: '10.0.0.9:1', partner_addrs: ['10.0.0.8:1'], data_dir: /r, password: p}\n");
      const fromFile = await findConfiguration({ configFile: file, dcsUrl: "raft://10.0.0.1:5010,10.0.0.2/other" }, {});
      expect([fromFile.consul, fromFile.namespace, fromFile.raft?.selfAddr, fromFile.raft?.password]).toEqual([null, "other", null, "p"]);
      expect(fromFile.raft?.partnerAddrs).toEqual([
        { host: "10.0.0.1", port: 5010 },
        { host: "10.0.0.2", port: 5010 },
      ]);
      const fromEnv = await findConfiguration({ dcsUrl: "raft://10.0.0.1:5010" }, { PATRONI_RAFT_PASSWORD: "e", PATRONI_SCOPE: "s" });
      expect([fromEnv.scope, fromEnv.raft?.password]).toEqual(["s", "e"]);
      const fromUrl = await findConfiguration({ dcsUrl: "raft://10.0.0.1:5010/ns?password=u" }, { PATRONI_RAFT_PASSWORD: "e" });
      expect([fromUrl.namespace, fromUrl.raft?.password]).toEqual(["ns", "u"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("-d api:// names nodes whose REST API is asked, by its own port where none is written", async () => {
    const { api, consul, raft } = await findConfiguration({ dcsUrl: "api://n1,n2:8009" }, {});
    expect([api, consul, raft]).toEqual([["http://n1:8008", "http://n2:8009"], null, null]);
    expect((await findConfiguration({ dcsUrl: "api://n1/other?scheme=https" }, {})).api).toEqual(["https://n1:8008"]);
    await expect(findConfiguration({ dcsUrl: "api://" }, {})).rejects.toThrow("a host is missing or wrong; write api://host:port");
    await expect(findConfiguration({ dcsUrl: "api://n1?schema=https" }, {})).rejects.toThrow("schema: unknown parameter");
  });

  test("a store that we do not have, and a URL that is none, are refused", async () => {
    await expect(findConfiguration({ dcsUrl: "raft://" }, {})).rejects.toThrow("-d: url: a host is missing or wrong; write raft://");
    await expect(findConfiguration({ dcsUrl: "raft://10.0.0.1:1" }, {})).rejects.toThrow(
      "raft.password: 10.0.0.1 is not a loopback address",
    );
    await expect(findConfiguration({ dcsUrl: "etcd://x:1" }, {})).rejects.toThrow("consul://host:port");
    await expect(findConfiguration({ dcsUrl: "nonsense" }, {})).rejects.toThrow("not a URL");
  });
});

describe("the command line", () => {
  test.each([
    [["nonsense"]],
    [["list", "--nonsense"]],
    [["list", "-f", "xml"]],
    [["-g", "x", "list"]],
    [["-d", "consul://127.0.0.1:1", "list"]],
    [["-d", "consul://127.0.0.1:1", "flush", "demo"]],
  ])("%p is a fault of usage", async (words) => {
    const terminal = scriptedTerminal();
    expect(await runCtl(words, terminal)).toBe(2);
    expect(terminal.said.complaints).toStartWith("Error: ");
  });

  test("demote-cluster needs a source, and a port is a port", async () => {
    const demote = ["-d", "consul://127.0.0.1:1", "demote-cluster", "demo", "--force"];
    for (const more of [[], ["--primary-slot-name", "s"], ["--host", ""]]) {
      const terminal = scriptedTerminal();
      expect(await runCtl([...demote, ...more], terminal)).toBe(1);
      expect(terminal.said.complaints).toBe("Error: At least --host, --port or --restore-command should be specified\n");
    }
    for (const port of ["0", "65536", "x"]) expect(await runCtl([...demote, "--port", port], scriptedTerminal())).toBe(2);
  });

  test("without any configuration it says how to name a cluster", async () => {
    const terminal = scriptedTerminal();
    expect(await runCtl(["list"], terminal)).toBe(1);
    expect(terminal.said.complaints).toContain("use -c node.yml, or -d raft://host:port");
  });

  test("a store that is away is told at once, with status 1", async () => {
    const terminal = scriptedTerminal();
    expect(await runCtl(["-d", "consul://127.0.0.1:1", "list", "demo"], terminal)).toBe(1);
    expect(terminal.said.complaints).toStartWith("Error: the DCS is not available");
  });

  test("the version needs no cluster", async () => {
    const terminal = scriptedTerminal();
    expect(await runCtl(["version"], terminal)).toBe(0);
    expect(terminal.said.out).toContain("patronictl version 4.1.5");
  });
});
