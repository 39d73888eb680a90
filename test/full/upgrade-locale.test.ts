// Goal: a cluster whose locale provider is ICU is upgraded to one of the same provider and locale, segment size and checksums. Method: one node of
// the installed PostgreSQL, and the programs of version 17.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import { ownCtl } from "../harness/ctl-tools.ts";
import { majorOf, postgresBinDir } from "../harness/local-server.ts";
import { postgres17 } from "../harness/other-postgresql.ts";

const LIMIT_MS = 900_000;
const PATIENT = { withinMs: 400_000 };
const major = majorOf(postgresBinDir());
const isBetween = major >= 15 && major < 17;
let cluster: TestCluster;

if (!isBetween) process.stderr.write("skipped: the installed PostgreSQL has no locale provider yet, or is no older than the new one\n");
afterAll(() => TestCluster.stopAll(), LIMIT_MS);

describe.skipIf(!isBetween)("a cluster of ICU", () => {
  beforeAll(async () => {
    const initdb = [
      { encoding: "UTF8" },
      { "locale-provider": "icu" },
      { "icu-locale": "de-DE" },
      { locale: "C.UTF-8" },
      { "wal-segsize": "4" },
      "no-sync",
    ];
    cluster = await TestCluster.shared({ nodes: 1, dynamic: { loop_wait: 1 }, extra: () => ({ bootstrap: { initdb } }) });
    await cluster.untilHealthy(PATIENT);
  }, LIMIT_MS);

  test(
    "is one under the new version: it sorts as before",
    () =>
      cluster.during(async () => {
        const leader = await cluster.untilHealthy(PATIENT);
        await cluster.sql(leader, "create table words as select unnest(array['Zebra', 'ähnlich', 'Apfel', 'zahm']) as word");
        const done = await ownCtl(cluster).run(["upgrade", "--run", "--to-bin-dir", postgres17(), "--force"]);
        expect([done.status, done.text]).toEqual([
          0,
          expect.stringMatching(/--locale-provider=icu --icu-locale=de-DE.*Upgrade [0-9-]+: done\n$/s),
        ]);
        expect(await cluster.untilHealthy(PATIENT)).toBe(leader);
        const facts = `select current_setting('server_version_num')::int / 10000 as major, datlocprovider::text as provider, datlocale as locale,
          current_setting('data_checksums') as checksums, current_setting('wal_segment_size') as segment
          from pg_database where datname = 'postgres'`;
        expect(await cluster.sql(leader, facts)).toEqual([{ major: 17, provider: "i", locale: "de-DE", checksums: "off", segment: "4MB" }]);
        expect(await cluster.sql(leader, "select string_agg(word, ' ' order by word) as sorted from words")).toEqual([
          { sorted: "ähnlich Apfel zahm Zebra" },
        ]);
      }),
    LIMIT_MS,
  );
});
