// What the pooler writes into PgBouncer's files, and what it makes of PgBouncer's answers. No PgBouncer runs.

import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClusterDecoder } from "../../../lib/dcs/cluster-decoder.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import type { PgbouncerConfig } from "../../../lib/model/pgbouncer.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { replaceFile } from "../../../lib/postgres/atomic-file.ts";
import type { ShownDatabase } from "../../../lib/runtime/pgbouncer/console.ts";
import { databaseLines, followers, linesIn, targetOf } from "../../../lib/runtime/pgbouncer/lines.ts";
import { readPoolFile, writePoolFile } from "../../../lib/runtime/pgbouncer/pool-file.ts";
import { ownUsers, settingFindings, strayLine } from "../../../lib/runtime/pgbouncer/settings-check.ts";
import { parseUserList, userListText, usersOf } from "../../../lib/runtime/pgbouncer/user-list.ts";
import { fc } from "../../harness/properties.ts";

const TARGET = { name: "node1", host: "10.0.0.1", port: 5433 };
const CONFIG: PgbouncerConfig = {
  name: null,
  host: "127.0.0.1",
  port: 6432,
  admin: { username: "keeper", password: null, options: {} },
  databasesFile: "/databases.ini",
  databases: ["app"],
  template: null,
  users: {
    file: "/users.txt",
    login: { username: "reader", password: null, options: {} },
    database: "postgres",
    query: null,
    intervalMs: ms(60_000),
  },
  pause: "on",
  pauseTimeoutMs: ms(3000),
  pauseLimitMs: ms(15_000),
  pauseFailed: "proceed",
};

function text(config: Pick<PgbouncerConfig, "databases" | "template">, target = TARGET): string {
  const lines = databaseLines(config, target);
  if (!lines.ok) throw new Error(lines.error);
  return lines.value;
}

const COMMENT = ";; Written by matriarch: changes here are lost.\n";

describe("the database lines", () => {
  test("lead each named database to the one of that name on the leader, and * to every other", () => {
    expect(text({ databases: ["app", "my-db", "*"], template: null })).toBe(
      `${COMMENT}[databases]\napp = host=10.0.0.1 port=5433 dbname='app'\n"my-db" = host=10.0.0.1 port=5433 dbname='my-db'\n* = host=10.0.0.1 port=5433\n`,
    );
  });

  test("are the operator's own, where a template is given, with the leader in place of the words", () => {
    const template = "app = host={host} port={port} pool_size=5\nlocal = host=127.0.0.1\nx = host={host} application_name={leader}\n";
    expect(text({ databases: [], template })).toBe(
      `${COMMENT}[databases]\napp = host=10.0.0.1 port=5433 pool_size=5\nlocal = host=127.0.0.1\nx = host=10.0.0.1 application_name=node1\n`,
    );
    expect(followers({ databases: [], template })).toEqual(["app", "x"]);
  });

  test("are not written with an address that would be more than a value", () => {
    for (const host of ["a b", "a'b", "a\nb = host=evil", "a;b", "", "ä"])
      expect(databaseLines(CONFIG, { ...TARGET, host })).toMatchObject({ ok: false });
    expect(databaseLines(CONFIG, { ...TARGET, host: "fe80::1%eth0" })).toMatchObject({ ok: true });
  });

  test("name what they were made of, whatever the databases are called", () => {
    const name = fc.string({ minLength: 1, maxLength: 20 }).filter((each) => !/[\r\n\0]/.test(each) && each !== "*");
    fc.assert(
      fc.property(fc.uniqueArray(name, { minLength: 1, maxLength: 5 }), (databases) => {
        const lines = linesIn(text({ databases, template: null }));
        expect(lines).toEqual(databases.map((each) => ({ name: each, host: "10.0.0.1", port: 5433 })));
      }),
    );
  });

  test("of a pool for every database are paused as a whole", () => {
    expect(followers({ databases: ["app", "*"], template: null })).toBeNull();
    expect(followers({ databases: ["app", "my-db"], template: null })).toEqual(["app", '"my-db"']);
  });
});

describe("the target", () => {
  const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });
  const cluster = (leader: string | null, member: Readonly<Record<string, unknown>>) =>
    new ClusterDecoder(keys).cluster({
      revision: revision(1),
      entries: [
        ...(leader === null ? [] : [{ key: keys.leader, value: leader, revision: revision(1), session: "s" }]),
        { key: `${keys.prefix}members/node1`, value: JSON.stringify(member), revision: revision(1), session: "s" },
      ],
    });
  const MEMBER = { conn_url: "postgres://10.0.0.1:5433/postgres", role: "primary", state: "running" };

  test("is the holder of the lock once it runs as primary, or as the leader of a standby cluster", () => {
    expect(targetOf(cluster("node1", MEMBER))).toEqual(TARGET);
    expect(targetOf(cluster("node1", { ...MEMBER, role: "standby_leader" }))).toEqual(TARGET);
  });

  test("is nobody while the holder is not promoted yet, does not run, says no address, or nobody holds the lock", () => {
    expect(targetOf(cluster("node1", { ...MEMBER, role: "replica" }))).toBeNull();
    expect(targetOf(cluster("node1", { ...MEMBER, state: "starting" }))).toBeNull();
    expect(targetOf(cluster("node1", { ...MEMBER, conn_url: "nonsense" }))).toBeNull();
    expect(targetOf(cluster("node2", MEMBER))).toBeNull();
    expect(targetOf(cluster(null, MEMBER))).toBeNull();
  });
});

describe("the list of users", () => {
  test("is read as it was written, whatever stands in it", () => {
    const word = fc.string({ minLength: 1, maxLength: 40 }).filter((each) => !/[\r\n\0]/.test(each));
    fc.assert(
      fc.property(fc.array(fc.tuple(word, word)), (pairs) => {
        const users = new Map(pairs);
        expect(new Map(parseUserList(userListText(users, new Map(), new Set())))).toEqual(users);
      }),
    );
  });

  test("keeps the lines of PgBouncer's own users, and of no others, whatever the leader says of them", () => {
    const own = parseUserList('"keeper" "console"\n"gone" "x"\n"both" "here"\n');
    const users = new Map([
      ["app", "SCRAM-SHA-256$1"],
      ["both", "there"],
    ]);
    expect(userListText(users, own, new Set(["keeper", "both", "nobody"]))).toBe(
      '"app" "SCRAM-SHA-256$1"\n"both" "here"\n"keeper" "console"\n',
    );
  });

  test("leaves out who has no password or cannot stand on a line, and refuses a query of other columns", () => {
    const rows = [
      { usename: "a", passwd: "md5x" },
      { usename: "b", passwd: null },
      { usename: "c\nd", passwd: "x" },
      { usename: "e", passwd: "x".repeat(3000) },
    ];
    const users = usersOf(rows);
    expect(users.ok && [...users.value]).toEqual([["a", "md5x"]]);
    expect(usersOf([{ rolname: "a", rolpassword: "x" }])).toMatchObject({ ok: false });
    expect(usersOf(Array.from({ length: 10_001 }, (_, index) => ({ usename: `u${index}`, passwd: "x" })))).toMatchObject({ ok: false });
  });

  test("spares the console's users that PgBouncer names, and the worker's own", () => {
    const settings = new Map([
      ["admin_users", "root, keeper"],
      ["stats_users", "stats"],
      ["auth_user", ""],
    ]);
    expect([...ownUsers({ ...CONFIG, admin: { username: "me", password: null, options: {} } }, settings)].sort()).toEqual([
      "keeper",
      "me",
      "root",
      "stats",
    ]);
  });
});

describe("a file of the pool", () => {
  const folder = mkdtempSync(join(tmpdir(), "pool-file-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "users.txt");

  test("is for its owner's eyes alone from its first instant, and says whether it changed", async () => {
    expect(await writePoolFile(path, "a")).toEqual({ ok: true, value: true });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await writePoolFile(path, "a")).toEqual({ ok: true, value: false });
    expect(readdirSync(folder)).toEqual(["users.txt"]);
  });

  test("that others could read is closed to them, also where its content stays", async () => {
    chmodSync(path, 0o644);
    expect(await writePoolFile(path, "a")).toEqual({ ok: true, value: false });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, "utf8")).toBe("a");
  });

  test.skipIf(process.getuid?.() !== 0)("keeps the owner of the file that it replaces, or takes that of the folder", async () => {
    const other = mkdtempSync(join(folder, "other-"));
    const { chownSync } = await import("node:fs");
    chownSync(other, 12_345, 12_346);
    const fresh = join(other, "databases.ini");
    expect(await writePoolFile(fresh, "a")).toMatchObject({ ok: true });
    expect([statSync(fresh).uid, statSync(fresh).gid]).toEqual([12_345, 12_346]);
    chownSync(fresh, 12_347, 12_348);
    expect(await writePoolFile(fresh, "b")).toEqual({ ok: true, value: true });
    expect([statSync(fresh).uid, statSync(fresh).gid]).toEqual([12_347, 12_348]);
  });

  test("that is a link is refused by its name, and what it leads to stays as it is", async () => {
    const secret = join(folder, "secret");
    const link = join(folder, "link.ini");
    writeFileSync(secret, '"keeper" "console"\n');
    chmodSync(secret, 0o640);
    symlinkSync(secret, link);
    const refused = { ok: false, error: expect.stringContaining(`${link}: it is a symbolic link`) };
    expect(await writePoolFile(link, "mine")).toMatchObject(refused);
    expect(await writePoolFile(link, '"keeper" "console"\n')).toMatchObject(refused);
    await expect(readPoolFile(link)).rejects.toThrow("it is a symbolic link");
    expect(readFileSync(secret, "utf8")).toBe('"keeper" "console"\n');
    expect(statSync(secret).mode & 0o777).toBe(0o640);
  });

  test("of PostgreSQL that is a link stays one: what it leads to is replaced", async () => {
    const target = join(folder, "postgresql.conf");
    const link = join(folder, "linked.conf");
    writeFileSync(target, "old");
    symlinkSync(target, link);
    expect(await replaceFile(link, "new")).toBe(true);
    expect([readlinkSync(link), readFileSync(target, "utf8")]).toEqual([target, "new"]);
  });

  test("that cannot be written is an error with its path", async () => {
    writeFileSync(join(folder, "plain"), "");
    expect(await writePoolFile(join(folder, "plain/x"), "a")).toMatchObject({
      ok: false,
      error: expect.stringContaining(join(folder, "plain/x")),
    });
  });
});

describe("PgBouncer's settings", () => {
  const GOOD = new Map([
    ["server_login_retry", "1"],
    ["server_fast_close", "0"],
    ["pool_mode", "transaction"],
    ["query_wait_timeout", "120"],
    ["tcp_user_timeout", "10000"],
    ["query_timeout", "0"],
    ["auth_file", "/users.txt"],
  ]);
  const DATABASE: ShownDatabase = { name: "app", host: "10.0.0.1", port: 5433, poolMode: null, paused: false };
  const named = (over: readonly (readonly [string, string])[], databases = [DATABASE]) =>
    settingFindings(CONFIG, new Map([...GOOD, ...over]), databases).map(({ setting }) => setting);

  test("that make a change of the leader no longer are not named", () => {
    expect(named([])).toEqual([]);
    expect(
      named([
        ["server_fast_close", "1"],
        ["pool_mode", "session"],
      ]),
    ).toEqual([]);
    expect(named([["query_wait_timeout", "0"]])).toEqual([]);
  });

  test("that do are named, each with what to write instead", () => {
    expect(named([["server_login_retry", "15"]])).toEqual(["server_login_retry"]);
    expect(named([["pool_mode", "session"]])).toEqual(["server_fast_close"]);
    expect(named([], [{ ...DATABASE, poolMode: "session" }])).toEqual(["server_fast_close"]);
    expect(named([["query_wait_timeout", "15"]])).toEqual(["query_wait_timeout"]);
    expect(named([["tcp_user_timeout", "0"]])).toEqual(["tcp_user_timeout"]);
    expect(named([["auth_file", "/etc/other"]])).toEqual(["auth_file"]);
  });

  test("do not stand for lines that PgBouncer does not go by", () => {
    const lines = text(CONFIG);
    expect(strayLine(lines, [DATABASE])).toBeNull();
    expect(strayLine(lines, [])).toBe("it has no database app");
    expect(strayLine(lines, [{ ...DATABASE, port: 5432 }])).toBe("app leads to 10.0.0.1:5432");
  });
});
