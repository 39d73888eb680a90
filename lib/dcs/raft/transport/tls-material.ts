// Owns the TLS files of the Raft: reads them again when they are older than a moment, so that renewed certificates are used
// without a restart; a set that does not fit together never replaces one that did. Opens no connection.

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import type { Security } from "./security.ts";

/** What Bun.connect and Bun.listen are given: each side shows its certificate and demands one of the same authority. */
export interface TlsMaterial {
  readonly ca: string;
  readonly cert: string;
  /** In clear text, whatever the file is. */
  readonly key: string;
  readonly requestCert: true;
  /** Said aloud on both sides: without it NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment would let anybody in. */
  readonly rejectUnauthorized: true;
}

/** A flood of connections does not become a flood of reads. */
const FRESH_MS = 1000;

type TlsSettings = Extract<Security, { readonly kind: "tls" }>;

export class TlsFiles {
  readonly #files: TlsSettings;
  readonly #clock: Clock;
  readonly #log: Log;
  #look: Look | null = null;
  #material: TlsMaterial;
  #readAt: number;
  #fault: string | null = null;

  /** Throws Error (which file, what is wrong with it, no secret) where the files cannot be used. */
  constructor(files: TlsSettings, clock: Clock, log: Log) {
    this.#files = files;
    this.#clock = clock;
    this.#log = log;
    const read = this.#read();
    if (!read.ok) throw new Error(read.error);
    this.#material = read.value;
    this.#readAt = clock.now();
  }

  /** For a new connection; the same object as long as the files are the same. */
  material(): TlsMaterial {
    const now = this.#clock.now();
    if (now - this.#readAt < FRESH_MS) return this.#material;
    this.#readAt = now;
    const read = this.#read();
    if (read.ok) this.#material = read.value;
    else if (read.error !== this.#fault)
      this.#log.error(`raft: the TLS files cannot be used, the ones read before stay in use: ${read.error}`);
    this.#fault = read.ok ? null : read.error;
    return this.#material;
  }

  #read(): Result<TlsMaterial, string> {
    const found = look(this.#files, this.#look);
    if (!found.ok) return found;
    this.#look = found.value;
    return found.value.judged;
  }
}

/** As they stand in the files. */
interface Texts {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

interface Look {
  readonly texts: Texts;
  readonly judged: Result<TlsMaterial, string>;
}

/** An encrypted key is slow to open on purpose, and everything waits for it: texts that were judged before are not judged again. */
function look(files: TlsSettings, before: Look | null): Result<Look, string> {
  const texts = readTexts(files);
  if (!texts.ok) return texts;
  const { ca, cert, key } = texts.value;
  if (before !== null && ca === before.texts.ca && cert === before.texts.cert && key === before.texts.key) return ok(before);
  return ok({ texts: texts.value, judged: judge(files, texts.value) });
}

function readTexts({ caFile, certFile, keyFile }: TlsSettings): Result<Texts, string> {
  let file = caFile;
  try {
    const ca = readFileSync(file, "utf8");
    file = certFile;
    const cert = readFileSync(file, "utf8");
    file = keyFile;
    return ok({ ca, cert, key: readFileSync(file, "utf8") });
  } catch (error) {
    return err(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function judge({ caFile, certFile, keyFile, keyPassword }: TlsSettings, { ca, cert, key }: Texts): Result<TlsMaterial, string> {
  let file = caFile;
  try {
    new X509Certificate(ca);
    file = certFile;
    const certificate = new X509Certificate(cert);
    file = keyFile;
    const opened = openKey(key, keyPassword);
    if (!opened.ok) return err(`${keyFile}: ${opened.error}`);
    if (!certificate.checkPrivateKey(opened.value)) return err(`${keyFile}: the key does not belong to ${certFile}`);
    const clear = keyPassword === null ? key : opened.value.export({ type: "pkcs8", format: "pem" }).toString();
    return ok({ ca, cert, key: clear, requestCert: true, rejectUnauthorized: true });
  } catch (error) {
    return err(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function openKey(pem: string, password: string | null): Result<KeyObject, string> {
  try {
    return ok(createPrivateKey({ key: pem, ...(password === null ? {} : { passphrase: password }) }));
  } catch (error) {
    const hint = pem.includes("ENCRYPTED") ? `it is encrypted; is raft.keyfile_password ${password === null ? "missing" : "right"}? ` : "";
    return err(`${hint}${error instanceof Error ? error.message : String(error)}`);
  }
}
