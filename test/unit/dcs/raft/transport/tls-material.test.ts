// Goal: TLS files that have not changed are not judged again, whatever their key costs to open. Method: real files of a test's authority,
// a clock that the test moves.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TlsFiles } from "../../../../../lib/dcs/raft/transport/tls-material.ts";
import { type Authority, makeAuthority } from "../../../../harness/certificates.ts";
import { recordingLog } from "../../../../harness/recording-log.ts";
import { ManualClock } from "../../manual-clock.ts";

let own: Authority;
beforeAll(() => {
  own = makeAuthority();
});
afterAll(() => own.remove());

test("an encrypted key is opened again only once a file has changed, and a set that was found wrong is told of once", async () => {
  const [one, two] = [own.issue("one"), own.issue("two")];
  const [oneKey, twoKey] = [one, two].map(({ key }) => readFileSync(own.encrypt(key, "correct horse"), "utf8")) as [string, string];
  const [certFile, keyFile] = [join(own.folder, "live.crt"), join(own.folder, "live.key")];
  const write = (cert: string, key: string): void => {
    writeFileSync(certFile, readFileSync(cert));
    writeFileSync(keyFile, key);
  };
  const [clock, log] = [new ManualClock(), recordingLog()];
  write(one.cert, oneKey);
  const files = new TlsFiles({ kind: "tls", caFile: own.ca, certFile, keyFile, keyPassword: "correct horse" }, clock, log);
  const later = async () => {
    await clock.advance(5000);
    return files.material();
  };
  const first = files.material();
  expect(first.key).toStartWith("-----BEGIN PRIVATE KEY-----");
  for (let each = 0; each < 3; each++) expect(await later()).toBe(first);
  write(two.cert, oneKey);
  for (let each = 0; each < 3; each++) expect(await later()).toBe(first);
  expect(log.lines.filter((line) => line.includes("the key does not belong to"))).toHaveLength(1);
  write(two.cert, twoKey);
  const second = await later();
  expect(second.cert).toBe(readFileSync(two.cert, "utf8"));
  expect(second.key).not.toBe(first.key);
  expect(await later()).toBe(second);
});
