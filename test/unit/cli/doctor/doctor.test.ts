// Goal: the doctor finds what is planted, says how to mend it, and finds nothing where nothing is wrong.

import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { type networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { certificateFindings } from "../../../../lib/cli/doctor/certificates.ts";
import { timingFindings } from "../../../../lib/cli/doctor/cluster.ts";
import { examine } from "../../../../lib/cli/doctor/examine.ts";
import { findingsText } from "../../../../lib/cli/doctor/finding.ts";
import { diskFindings, fencingFindings, modeFindings, nameFindings } from "../../../../lib/cli/doctor/machine.ts";
import { parameterFindings } from "../../../../lib/cli/doctor/server.ts";
import { addressFindings } from "../../../../lib/cli/doctor/vip.ts";
import type { Finding } from "../../../../lib/model/finding.ts";
import type { NodeConfig, VipConfig } from "../../../../lib/model/node-config.ts";
import { revision } from "../../../../lib/model/units.ts";
import { realClock } from "../../../../lib/runtime/clock.ts";
import { makeAuthority } from "../../../harness/certificates.ts";
import { loopbackAddress } from "../../../harness/loopback.ts";
import { loadTemplate } from "../../../simulation/node-config.ts";

const template = await loadTemplate();
const folder = mkdtempSync(join(tmpdir(), "doctor-"));
afterAll(() => rmSync(folder, { recursive: true }));

function faults(findings: readonly Finding[]): readonly string[] {
  return findings.filter(({ verdict }) => verdict === "fault" || verdict === "warning").map(({ verdict, says }) => `${verdict}: ${says}`);
}

describe("the doctor", () => {
  test("finds each fault of a file that no node could start with", async () => {
    const path = join(folder, "wrong.yml");
    writeFileSync(path, "scope: demo\nname: a\nconsul: {host: 127.0.0.1}\npostgresql: {data_dir: /data, listen: 127.0.0.1:70000}\n", {
      mode: 0o600,
    });
    const found = await examine({ path, env: {}, clock: realClock() });
    expect(found.map(({ verdict, says }) => [verdict, says.split(":")[0]])).toEqual(
      expect.arrayContaining([
        ["fault", "postgresql.authentication.replication.username"],
        ["fault", "postgresql.listen"],
      ]),
    );
    expect(found.every(({ fix }) => fix !== null)).toBe(true);
  });

  test("says what of PostgreSQL's parameters stands in the way, and which command changes it", () => {
    const right = {
      wal_level: "replica",
      max_wal_senders: "10",
      max_replication_slots: "10",
      wal_log_hints: "on",
      data_checksums: "off",
      fsync: "on",
      full_page_writes: "on",
    };
    const look = (changes: Partial<typeof right>) => parameterFindings(template, new Map(Object.entries({ ...right, ...changes })));
    expect(faults(look({}))).toEqual([]);
    expect(faults(look({ wal_log_hints: "off", data_checksums: "on" }))).toEqual([]);
    const [rewind] = look({ wal_log_hints: "off" });
    expect(rewind).toMatchObject({ verdict: "fault", fix: "ctl edit-config -p wal_log_hints=on, then ctl restart" });
    for (const [name, value] of Object.entries({
      wal_level: "minimal",
      max_wal_senders: "1",
      max_replication_slots: "0",
      fsync: "off",
      full_page_writes: "off",
    })) {
      expect(faults(look({ [name]: value })).join()).toContain(name);
    }
  });

  test("tells a certificate that is too old, another key, no known authority, and another address", async () => {
    const authority = makeAuthority();
    try {
      const own = authority.issue("own");
      const base = {
        ...template.restapi,
        connectAddress: { host: "127.0.0.1", port: 1 },
        certfile: own.cert,
        keyfile: own.key,
        cafile: authority.ca,
      };
      const look = async (restapi: Partial<NodeConfig["restapi"]>, days = 0) =>
        faults(await certificateFindings({ ...template, restapi: { ...base, ...restapi } }, Date.now() + days * 86_400_000));
      // Made for two days: that is soon.
      expect(await look({})).toEqual([expect.stringMatching(/^warning: valid for [12] days/)]);
      expect((await look({}, 5)).join()).toContain("fault: it expired");
      const anotherKey = join(authority.folder, "ca.key");
      expect((await look({ keyfile: anotherKey })).join()).toContain("fault: the key is another certificate's");
      expect((await look({ cafile: own.cert })).join()).toContain(`fault: no authority of ${own.cert} has signed it`);
      expect((await look({ connectAddress: { host: "db1.example", port: 1 } })).join()).toContain("fault: it does not name db1.example");
      const encrypted = authority.encrypt(own.key, "hidden");
      expect(await look({ keyfile: encrypted, keyfilePassword: "hidden" })).toHaveLength(1);
      const unreadable = await look({ keyfile: encrypted, keyfilePassword: "wrong-one" });
      expect(unreadable.join()).toContain("its key cannot be used");
      expect(unreadable.join()).not.toContain("wrong-one");
      expect((await look({ certfile: "/does/not/exist" })).join()).toContain("cannot be read");
    } finally {
      authority.remove();
    }
  }, 240_000);

  test("times the disk and leaves nothing behind, also where the folder is still to be made", async () => {
    const dataDir = join(folder, "disk/data");
    const found = await diskFindings({ ...template, postgresql: { ...template.postgresql, dataDir } });
    expect(found.map(({ says }) => says).join("\n")).toMatch(/GiB are free[\s\S]*a sync takes/);
    expect(readdirSync(folder).filter((name) => name.includes("doctor"))).toEqual([]);
    expect(existsSync(dataDir)).toBe(false);
  });

  test("tells of names that nobody resolves, of addresses that nobody else reaches, and of files that everybody reads", async () => {
    const connectAddress = { host: "node1.invalid", port: 8008 };
    const named = await nameFindings({ ...template, restapi: { ...template.restapi, connectAddress } });
    expect(named.find(({ subject }) => subject === "name restapi.connect_address")).toMatchObject({ verdict: "fault" });
    expect(named.find(({ subject }) => subject === "name postgresql.connect_address")).toMatchObject({ verdict: "warning" });
    const path = join(folder, "node.yml");
    writeFileSync(path, "");
    for (const [mode, verdict] of [
      [0o644, "fault"],
      [0o640, "fine"],
      [0o600, "fine"],
    ] as const) {
      chmodSync(path, mode);
      expect(await modeFindings(template, path)).toMatchObject([{ verdict }]);
    }
  });

  test("tells of timing rules that are broken, and of a lease that nothing enforces", () => {
    const look = (dcs: Record<string, unknown>) => timingFindings({ ...template, bootstrap: { ...template.bootstrap, dcs } }, null);
    expect(faults(look({ ttl: 30, loop_wait: 10, retry_timeout: 10 }))).toEqual([]);
    expect(faults(look({ ttl: 20, loop_wait: 10, retry_timeout: 10 })).join()).toContain("loop_wait + 2·retry_timeout ≤ ttl is broken");
    const fenced = (watchdog: Partial<NodeConfig["watchdog"]>) =>
      fencingFindings({ ...template, watchdog: { ...template.watchdog, ...watchdog } })[0]?.verdict;
    expect(fenced({ driver: "process" })).toBe("fine");
    expect(fenced({ mode: "off" })).toBe("warning");
    expect(fenced({ driver: "linux", device: "/does/not/exist" })).toBe("fault");
  });
});

describe("of the address of the primary's host the doctor", () => {
  const vip = { ...loopbackAddress(), ipCommand: process.execPath, arpingCommand: process.execPath };
  const look = (changes: Partial<VipConfig> = {}, options: { readonly leader?: string | null; readonly ttlMs?: number } = {}) => {
    const { leader = "a", ttlMs = 30_000 } = options;
    const cluster = leader === null ? null : { leader: { name: leader, session: "s", revision: revision(1) } };
    return addressFindings({ config: { name: "a", vip: { ...vip, ...changes } }, cluster, ttlMs, supervised: true });
  };

  test("says nothing where none is configured, and that it is where it belongs", () => {
    expect(addressFindings({ config: { name: "a", vip: null }, cluster: null, ttlMs: 30_000, supervised: true })).toEqual([]);
    expect(look()).toMatchObject([{ verdict: "fine" }]);
    expect(look({ address: "192.0.2.199" }, { leader: "b" })).toMatchObject([{ verdict: "fine" }]);
    expect(look({}, { leader: null })).toMatchObject([{ verdict: "unknown" }]);
  });

  test("finds it where it does not belong, or not where it does", () => {
    expect(faults(look({}, { leader: "b" })).join()).toContain("but this node does not lead");
    expect(faults(look({ address: "192.0.2.199" })).join()).toContain("although this node leads");
    expect(faults(look({ prefixLength: vip.prefixLength - 1 })).join()).toContain("with another prefix");
  });

  test("finds an address that is in none of its interface's networks, and the program that announces one of IPv6", () => {
    const entry = { mac: "02:00:00:00:00:01", internal: false, netmask: "" };
    const interfaces: ReturnType<typeof networkInterfaces> = {
      eth0: [
        { ...entry, family: "IPv4", address: "10.0.0.5", cidr: "10.0.0.5/24" },
        { ...entry, family: "IPv6", address: "fd00::5", cidr: "fd00::5/64", scopeid: 0 },
        { ...entry, family: "IPv6", address: "fe80::5", cidr: "fe80::5/64", scopeid: 2 },
      ],
    };
    const at = (address: string) => {
      const changed = { ...vip, interface: "eth0", address, ndptoolCommand: "/does/not/exist" };
      const sight = { config: { name: "a", vip: changed }, cluster: null, ttlMs: 30_000, supervised: true, interfaces };
      return faults(addressFindings(sight));
    };
    const wrong = "its neighbours look for it elsewhere";
    expect(at("10.0.0.100")).toEqual([]);
    expect(at("10.0.1.100")).toEqual([`warning: 10.0.1.100 is in none of the networks of eth0 (10.0.0.5/24): ${wrong}`]);
    const missing = "warning: vip.ndptool_command: there is no /does/not/exist";
    expect(at("fd00::100")).toEqual([missing]);
    expect(at("fd00:1::100")).toEqual([`warning: fd00:1::100 is in none of the networks of eth0 (fd00::5/64): ${wrong}`, missing]);
  });

  test("finds what keeps it from being put anywhere", () => {
    expect(faults(look({ interface: "nowhere9" }))).toEqual([expect.stringMatching(/^fault: there is no interface nowhere9/)]);
    expect(faults(look({ ipCommand: "/does/not/exist" }))).toEqual(["fault: vip.ip_command: there is no /does/not/exist"]);
    expect(faults(look({ ipCommand: `${process.execPath} -n /does/not/exist` }))).toEqual([expect.stringContaining("/does/not/exist")]);
    expect(faults(look({ arpingCommand: "/does/not/exist" }))).toEqual([expect.stringMatching(/^warning: vip.arping_command/)]);
    expect(faults(look({}, { ttlMs: 7_000 })).join()).toContain("fault: a ttl of 7 s is too short");
  });
});

test("what is found is shown with its remedy below it, and counted", () => {
  const found: readonly Finding[] = [
    { subject: "a", verdict: "fine", says: "well", fix: null },
    { subject: "long", verdict: "fault", says: "broken", fix: "mend it" },
  ];
  expect(findingsText(found)).toBe(
    "fine     a     well\nfault    long  broken\n               → mend it\n\n1 to mend, 0 to think about, 0 not known, 1 fine\n",
  );
});
