// The key by which servers stop and programs are run: what was written is read, and nothing else is taken for it.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { ClusterStore } from "../../../lib/dcs/cluster-store.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import { decodeUpgrade, encodeUpgrade, unreadableInitdbWord } from "../../../lib/dcs/upgrade-value.ts";
import { lsn, ms, revision, seconds } from "../../../lib/model/units.ts";
import { isUpgrading, type UpgradeRequest } from "../../../lib/model/upgrade.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { ManualClock } from "./manual-clock.ts";

const request: UpgradeRequest = {
  revision: revision(7),
  id: "20260131-120000",
  phase: "drain",
  direction: "forward",
  node: "a",
  mode: "copy",
  fromMajor: 13,
  toMajor: 15,
  binDir: "/usr/lib/postgresql/15/bin",
  fromIdentifier: "7300000000000000001",
  identifier: "7300000000000000002",
  initdb: ["--username=postgres", "--lc-collate=de_DE.UTF-8", "--data-checksums"],
  checkpoint: lsn(0x1_0300_0028n),
  checked: {
    a: { major: 15, against: "", notes: "2 logical slots do not survive" },
    b: { major: null, against: "programs: /x lacks initdb", notes: "" },
  },
  received: ["b"],
  cloned: [],
  analyzed: false,
  message: null,
  former: null,
};

const entry = (value: string) => ({ key: "service/demo/upgrade", value, revision: revision(7), session: null });
const written = ({ revision: _, ...value }: UpgradeRequest): string => encodeUpgrade(value);

test("what is written is read as it was", () => {
  expect(decodeUpgrade(entry(written(request)))).toEqual({ value: request, faults: [] });
  expect(decodeUpgrade(entry(""))).toEqual({ value: null, faults: [] });
});

test("the record of the one before is kept beside one that is only asked for; where it cannot be read, it stands against nothing", () => {
  const { revision: _, former: __, ...before } = { ...request, id: "20250131-120000", phase: "done" as const };
  const asked = { ...request, phase: "check" as const, former: before };
  expect(decodeUpgrade(entry(written(asked)))).toEqual({ value: asked, faults: [] });
  const garbled = JSON.stringify({ ...JSON.parse(written(asked)), former: { id: 1 } });
  expect(decodeUpgrade(entry(garbled))).toEqual({ value: { ...asked, former: null }, faults: [] });
});

test("words for initdb that name anything but a cluster's make are garbage, and so is a folder that is no path", () => {
  for (const word of [
    "--pgdata=/etc",
    "--set=archive_command=x",
    "--auth=trust",
    "-D",
    "--username=",
    "--data-checksums=1",
    "--locale-provider=x",
  ])
    expect(decodeUpgrade(entry(written({ ...request, initdb: [word] }))).value).toMatchObject({ phase: "failed", node: "" });
  for (const binDir of ["bin", "", "/a\nb"]) expect(decodeUpgrade(entry(written({ ...request, binDir }))).value?.node).toBe("");
});

test("rules of ICU are read again with their lines, their length and without a locale's name; what nobody could read is never written", async () => {
  const rules = `--icu-rules=&a < b\n&${"c < d ".repeat(200)}`;
  const initdb = ["--username=postgres", "--locale-provider=icu", "--icu-locale=", rules];
  expect(decodeUpgrade(entry(written({ ...request, initdb })))).toEqual({ value: { ...request, initdb }, faults: [] });
  expect([unreadableInitdbWord(initdb), unreadableInitdbWord(["--username=a\nb"])]).toEqual([null, "--username=a\nb"]);

  const clock = new ManualClock();
  const place = { namespace: "service", scope: "demo", group: null, name: "a", ttl: seconds(30) };
  const memory = new MemoryStore({ cluster: new MemoryCluster({ clock }), clock });
  const store = new ClusterStore({ store: memory, clock, log: recordingLog(), ...place });
  const options = { deadline: ms(1_000_000) };
  const { revision: _, ...value } = request;
  const put = await store.values.setUpgradeValue(value, null, options);
  const at = put.ok ? put.value : null;
  for (const unreadable of [{ initdb: [`--icu-rules=${"x".repeat(4001)}`] }, { binDir: "bin" }, { node: "" }])
    expect(await store.values.setUpgradeValue({ ...value, ...unreadable }, at, options)).toMatchObject({
      ok: false,
      error: { kind: "rejected", reason: expect.stringContaining("could not be read again") },
    });
  const stands = await store.getCluster(options);
  expect(stands.ok && stands.value.upgrade).toMatchObject({ id: request.id, phase: "drain" });
});

test("garbage counts as an upgrade that failed: nobody who is down starts by it, and nobody goes on with it", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      const { value, faults } = decodeUpgrade(entry(text));
      if (text.trim() === "") return;
      expect(value).toMatchObject({ phase: "failed", node: "", id: "unreadable" });
      expect(isUpgrading(value)).toBe(true);
      expect(faults).toHaveLength(1);
    }),
  );
  // What an operator writes to end it can be read.
  const { revision: _, ...garbage } = decodeUpgrade(entry("x")).value as UpgradeRequest;
  expect(decodeUpgrade(entry(encodeUpgrade({ ...garbage, node: "unknown", phase: "done" }))).faults).toEqual([]);
});
