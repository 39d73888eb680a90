// Goal: names, connection strings, password files and commands survive every character that users put into them.

import { expect, test } from "bun:test";
import { slotName } from "../../../lib/model/slot-name.ts";
import { lsn } from "../../../lib/model/units.ts";
import { connInfo, primaryConninfo, programConninfo, scriptConninfo } from "../../../lib/postgres/conninfo.ts";
import type { PostgresContext } from "../../../lib/postgres/context.ts";
import { endOfRecord } from "../../../lib/postgres/end-of-wal.ts";
import { parseConnInfo } from "../../../lib/postgres/follow.ts";
import { hbaLines } from "../../../lib/postgres/hba.ts";
import { userStatements } from "../../../lib/postgres/initdb.ts";
import { longOptions, methodCommand } from "../../../lib/postgres/method-command.ts";
import { pgpassContent } from "../../../lib/postgres/pgpass.ts";
import { copyProgress } from "../../../lib/postgres/program-output.ts";
import { shellWords } from "../../../lib/postgres/shell-words.ts";
import { literal } from "../../../lib/postgres/sql-literal.ts";
import { parseTimelineHistory } from "../../../lib/postgres/timeline-history.ts";
import { serverConfig } from "../../harness/local-server.ts";
import { fc } from "../../harness/properties.ts";

const config = {
  ...serverConfig("/data", "a", 5432),
  replication: { username: "rep", password: "p:w\\d", options: { sslmode: "verify-ca", sslpassword: "hidden" } },
};
const context = { config, scope: "herd", memberName: "node 1" } as unknown as PostgresContext;
const target = { name: "b", host: "10.0.0.2", port: 5433, slotName: "b" };

test("a slot name follows the contract: case, dash, dot, other characters, length", () => {
  expect(slotName("Node-1.example")).toBe("node_1_example");
  expect(slotName("a b")).toBe("au0032b");
  expect(slotName("é")).toBe("u0233");
  expect(slotName("x".repeat(80))).toHaveLength(63);
  fc.assert(fc.property(fc.string({ minLength: 1, unit: "grapheme" }), (name) => expect(slotName(name)).toMatch(/^[a-z0-9_]{1,63}$/)));
});

test("a connection string reads back as what was put in", () => {
  const value = fc.string();
  fc.assert(
    fc.property(value, value, (host, user) => {
      const read = parseConnInfo(connInfo({ host, user, port: 5432, left: null }));
      expect(Object.fromEntries(read)).toEqual({ host, user, port: "5432" });
    }),
  );
});

test("a walreceiver names its member and its password file; programs are never told a secret", () => {
  expect(primaryConninfo(context, target, 15)).toBe(
    "user=rep passfile=/data/a.pgpass sslmode=verify-ca sslpassword=hidden host=10.0.0.2 port=5433 application_name='node 1'",
  );
  expect(primaryConninfo(context, target, 17)).toStartWith("dbname=postgres ");
  expect(programConninfo(context, { user: config.replication, target })).not.toContain("hidden");
  expect(primaryConninfo(context, { ...target, host: "a,b" }, 15)).toContain("target_session_attrs=read-write");
});

test("scripts get a connection string in libpq's form, with every host of a remote primary and no secret", () => {
  const user = { username: "a b", password: "x", options: { sslmode: "require", sslpassword: "y" } };
  expect(scriptConninfo({ user, host: "/run/pg", port: 1 })).toBe("dbname=postgres user='a b' host=/run/pg port=1 sslmode=require");
  expect(scriptConninfo({ user: config.replication, host: "h1,h2", port: "1,2" })).toBe(
    "dbname=postgres user=rep host=h1,h2 port=1,2 target_session_attrs=read-write sslmode=verify-ca",
  );
});

test("a base backup's progress is read in bytes, whatever else it says", () => {
  expect(copyProgress(" 2048/4096 kB (50%), 0/1 tablespace")).toEqual({ doneBytes: 2_097_152, totalBytes: 4_194_304, percent: 50 });
  expect(copyProgress("5000/4096 kB (122%), 1/1 tablespace")?.percent).toBe(100);
  expect(copyProgress("pg_basebackup: base backup completed")).toBeNull();
});

test("the password file escapes colons and backslashes and holds each user once", () => {
  const superuser = { username: "rep", password: "first", options: {} };
  expect(pgpassContent(config)).toBe("*:*:*:rep:p\\:w\\\\d\n");
  expect(pgpassContent({ ...config, superuser })).toBe("*:*:*:rep:first\n");
});

test("commands split as a shell splits them, and an open quote is no command", () => {
  expect(shellWords(`a 'b c' "d \\" e\\n" f\\ g ''`)).toEqual(["a", "b c", 'd " e\\n', "f g", ""]);
  expect(shellWords("  ")).toEqual([]);
  expect(shellWords("a 'b")).toBeNull();
  fc.assert(
    fc.property(fc.array(fc.string()), (words) => {
      const quoted = words.map((word) => `'${word.replace(/'/g, "'\\''")}'`).join(" ");
      expect(shellWords(quoted)).toEqual(words);
    }),
  );
});

test("a method gets our arguments and its own keys, unless it wants none", () => {
  const section = { command: "run it", keep_data: true, no_leader: 1, stanza: "s", verbose: true, empty: null };
  const given = ["--scope=herd", "--keep_data=True", "--no_leader=1", "--stanza=s", "--verbose=True"];
  expect(methodCommand(section, { scope: "herd" })).toEqual(["run", "it", ...given]);
  expect(methodCommand({ ...section, no_params: "on" }, { scope: "herd" })).toEqual(["run", "it"]);
  expect(methodCommand({}, {})).toBeNull();
  expect(
    longOptions([
      ["verbose", null],
      ["max-rate", "1M"],
      ["-v", null],
    ]),
  ).toEqual(["--verbose", "--max-rate=1M", "-v"]);
});

test("an SQL literal stays on one line and keeps quotes and backslashes inside", () => {
  expect(literal("it's")).toBe("'it''s'");
  expect(literal("a\\b'c\n")).toBe(" E'a\\\\b''c\\n'");
  fc.assert(fc.property(fc.string(), (text) => expect(literal(text)).not.toMatch(/[\n\r]/)));
});

test("users get the rights that their work needs, the superuser never less", () => {
  const user = (username: string) => ({ username, password: null, options: {} });
  const statements = userStatements({ ...config, superuser: user("s"), replication: user("r"), rewind: user("r") });
  expect(statements.filter((text) => text.startsWith("GRANT EXECUTE ON FUNCTION") && text.endsWith('TO "r"'))).toHaveLength(4);
  expect(statements.filter((text) => text.startsWith("DO"))).toHaveLength(2);
  expect(userStatements({ ...config, superuser: user("s"), replication: user("s"), rewind: user("s") })).toHaveLength(1);
});

test("pg_hba of the role goes before the common one; without either the file stays", () => {
  const both = { ...config, pgHba: ["common"], pgHbaByRole: { replica: ["own"] } };
  expect(hbaLines(both, "replica")).toEqual(["own"]);
  expect(hbaLines(both, "primary")).toEqual(["common"]);
  expect(hbaLines({ ...config, pgHba: null }, "primary")).toBeNull();
});

test("a timeline history is read line by line, comments and damage left out", () => {
  const text = "1\t0/3000060\tno recovery target specified\n\n# note\n2\t1/A0\t\nbroken\n";
  expect(parseTimelineHistory(text).map((entry) => [Number(entry.timeline), Number(entry.switchpoint), entry.reason])).toEqual([
    [1, 0x3000060, "no recovery target specified"],
    [2, 0x1000000a0, ""],
  ]);
});

test("the end of a record counts the page headers that it crosses", () => {
  const segment = 16n * 1024n * 1024n;
  expect(endOfRecord(lsn(0x28n), 114n, segment)).toBe(lsn(0x28n + 120n));
  // Crosses into the second page: 24 bytes of header.
  expect(endOfRecord(lsn(8192n - 40n), 114n, segment)).toBe(lsn(8192n + 24n + 80n));
  // Crosses into the next segment: 40 bytes.
  expect(endOfRecord(lsn(segment - 40n), 114n, segment)).toBe(lsn(segment + 40n + 80n));
  expect(endOfRecord(lsn(8192n - 40n), 40n, segment)).toBe(lsn(8192n));
});
