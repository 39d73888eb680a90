// Claims about reading connection strings.

import { expect, test } from "bun:test";
import { readDsn } from "../../../lib/config/dsn.ts";
import { fc } from "../../harness/properties.ts";

const read = (dsn: string | null, env: Readonly<Record<string, string>> = {}) => {
  const result = readDsn(dsn, env);
  return result.ok ? Object.fromEntries(result.value) : result.error;
};

test("any value survives quoting, as libpq quotes", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (password, user) => {
      const quote = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
      expect(read(`host=a password=${quote(password)} user = ${quote(user)} port=1`)).toEqual({ host: "a", password, user, port: "1" });
    }),
  );
});

test("a URL is taken apart and unescaped; its parameters are options", () => {
  expect(read("postgres://us%40er:p%3A%2F@db1:5433/app?sslmode=require")).toEqual({
    host: "db1",
    port: "5433",
    user: "us@er",
    password: "p:/",
    dbname: "app",
    sslmode: "require",
  });
  expect(read("postgresql://[::1]/")).toEqual({ host: "::1" });
});

test("libpq's variables fill in what the text leaves open", () => {
  expect(read("port=5", { PGHOST: "h", PGPORT: "6", PGPASSWORD: "p", PGUSER: "" })).toEqual({ host: "h", port: "5", password: "p" });
  expect(read(null, { PGHOST: "h" })).toEqual({ host: "h" });
});

test.each(["hostonly", "host=a b", "host='a", "=a", "postgres://u:%zz@h/", "postgres://h:port/"])(
  "%p is refused without being shown",
  (text) => {
    const error = read(text);
    expect(error).toBeString();
    expect(error).not.toContain(text);
  },
);
