// Owns a small certificate authority for tests, made with openssl in a folder of its own.

import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { give } from "../../lib/cli/quickstart/folder.ts";
import type { ClusterNode } from "./cluster-node.ts";

export interface Authority {
  readonly folder: string;
  readonly ca: string;
  /** Makes NAME.crt and NAME.key for 127.0.0.1 and localhost. */
  issue(name: string): { readonly cert: string; readonly key: string };
  encrypt(key: string, password: string): string;
  remove(): void;
}

/** Of an elliptic curve: one of RSA takes seconds to find on a busy machine. */
const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] as const;

export function makeAuthority(): Authority {
  const folder = mkdtempSync(join(tmpdir(), "api-tls-"));
  const at = (name: string) => join(folder, name);
  openssl(["req", "-x509", ...NEW_KEY, "-nodes", "-keyout", at("ca.key"), "-out", at("ca.crt"), "-subj", "/CN=test CA", "-days", "2"]);
  writeFileSync(at("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
  return {
    folder,
    ca: at("ca.crt"),
    issue(name) {
      const [cert, key, request] = [at(`${name}.crt`), at(`${name}.key`), at(`${name}.csr`)];
      openssl(["req", ...NEW_KEY, "-nodes", "-keyout", key, "-out", request, "-subj", `/CN=${name}`]);
      const signer = ["-CA", at("ca.crt"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", at("names")];
      openssl(["x509", "-req", "-in", request, "-out", cert, ...signer]);
      return { cert, key };
    },
    encrypt(key, password) {
      openssl(["pkey", "-aes256", "-in", key, "-out", `${key}.enc`, "-passout", `pass:${password}`]);
      return `${key}.enc`;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** A copy in the node's folder that its user alone can read; the path. */
export function copyFor({ place }: ClusterNode, file: string): string {
  const path = join(place.folder, basename(file));
  copyFileSync(file, path);
  chmodSync(path, 0o600);
  give(path, place.user);
  return path;
}

function openssl(parameters: readonly string[]): void {
  const done = Bun.spawnSync(["openssl", ...parameters], { stderr: "pipe" });
  if (done.exitCode !== 0) throw new Error(`openssl ${parameters[0]}: ${done.stderr.toString()}`);
}
