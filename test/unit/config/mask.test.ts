// Claims about hiding secrets: wherever a password may stand, it cannot be read afterwards.

import { expect, test } from "bun:test";
import { MASK, maskText, maskTree } from "../../../lib/config/mask.ts";
import { fc } from "../../harness/properties.ts";

/** Distinct from everything else in the texts, with characters that need quoting now and then. */
const password = fc
  .array(fc.constantFrom(..."abcXYZ019-_.!$%^&*()+:;,<>?|~"), { minLength: 6, maxLength: 20 })
  .map((letters) => `Zq${letters.join("")}`);

const quoted = (text: string): string => `'${text.replace(/[\\']/g, "\\$&")}'`;

test("a password inside a URL cannot be read", () => {
  fc.assert(
    fc.property(password, (secret) => {
      const url = `postgres://admin:${encodeURIComponent(secret)}@db1:5432/postgres?sslmode=require`;
      expect(maskText(url)).not.toContain(encodeURIComponent(secret));
      expect(maskText(`curl ${url}`)).toContain("postgres://admin:***@db1:5432/postgres");
    }),
  );
});

test("a password inside a conninfo string cannot be read, bare, quoted, or with spaces around the sign", () => {
  fc.assert(
    fc.property(password, fc.constantFrom("", " "), (secret, gap) => {
      expect(maskText(`host=a user=b password${gap}=${gap}${secret} port=1`)).toBe(`host=a user=b password${gap}=${gap}${MASK} port=1`);
      expect(maskText(`user=b password${gap}=${gap}${quoted(`${secret} 'x`)} port=1`)).toBe(`user=b password${gap}=${gap}${MASK} port=1`);
      expect(maskText(`PGPASSWORD=${secret} pg_basebackup`)).toBe(`PGPASSWORD=${MASK} pg_basebackup`);
    }),
  );
});

test("secrets by name are hidden at any depth, also in sections that a file makes up", () => {
  fc.assert(
    fc.property(password, (secret) => {
      const tree = {
        restapi: { authentication: { username: "u", password: secret }, keyfile_password: secret },
        ctl: { keyfile_password: secret },
        consul: { token: secret, url: `https://u:${encodeURIComponent(secret)}@c:8500` },
        raft: { password: secret },
        postgresql: {
          authentication: { superuser: { password: secret, sslpassword: secret } },
          parameters: { primary_conninfo: `user=r password=${secret}`, ssl_passphrase_command: "echo x", password_encryption: "md5" },
          recovery_conf: { restore_command: `PGPASSWORD=${secret} fetch %f` },
          wal_fetch: { command: `fetch --token=${secret}`, api_key: secret, aws_secret_access_key: secret },
        },
        bootstrap: { dcs: { postgresql: { parameters: { primary_conninfo: `password=${quoted(secret)}` } } } },
      };
      const shown = JSON.stringify(maskTree(tree));
      expect(shown).not.toContain(JSON.stringify(secret).slice(1, -1));
      expect(shown).not.toContain(encodeURIComponent(secret));
      expect(shown).toContain('"password_encryption":"md5"');
    }),
  );
});

test("text without secrets stays as it is", () => {
  for (const text of ["%(asctime)s %(levelname)s: %(message)s", "host all all all scram-sha-256", "http://127.0.0.1:8500", "cp /a/%f %p"]) {
    expect(maskText(text)).toBe(text);
  }
});
