// Owns the TLS files of the API: reads them, checks that they fit together, and says which option is at fault.

import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { ConfigFault } from "../model/errors.ts";
import type { RestApiConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";

export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  readonly passphrase: string | null;
  readonly ca: string | null;
  readonly ciphers: string | null;
}

/** null: no certfile, so plain HTTP. The key may stand in the certfile. Errors: the option's path and what is wrong with the file. */
export async function readTlsFiles(settings: RestApiConfig): Promise<Result<TlsMaterial | null, ConfigFault>> {
  if (settings.certfile === null) return ok(null);
  const cert = await readText("restapi.certfile", settings.certfile);
  if (!cert.ok) return cert;
  const key = settings.keyfile === null ? cert : await readText("restapi.keyfile", settings.keyfile);
  if (!key.ok) return key;
  const ca = settings.cafile === null ? ok(null) : await readText("restapi.cafile", settings.cafile);
  if (!ca.ok) return ca;
  if (settings.verifyClient !== "none" && ca.value === null) {
    return fault("restapi.cafile", `verify_client ${settings.verifyClient} needs the certificates of the trusted CAs`);
  }
  const misfit = checkPair(cert.value, key.value, settings);
  if (misfit !== null) return err(misfit);
  const badCa = ca.value === null ? null : checkCertificate("restapi.cafile", ca.value);
  if (badCa !== null) return err(badCa);
  return ok({ cert: cert.value, key: key.value, passphrase: settings.keyfilePassword, ca: ca.value, ciphers: settings.ciphers });
}

function checkPair(cert: string, key: string, settings: RestApiConfig): ConfigFault | null {
  const badCert = checkCertificate("restapi.certfile", cert);
  if (badCert !== null) return badCert;
  const keyPath = settings.keyfile === null ? "restapi.certfile" : "restapi.keyfile";
  try {
    const privateKey = createPrivateKey({ key, ...(settings.keyfilePassword === null ? {} : { passphrase: settings.keyfilePassword }) });
    if (new X509Certificate(cert).checkPrivateKey(privateKey)) return null;
    return { path: keyPath, message: "the private key does not belong to the certificate" };
  } catch (error) {
    // The library's message names no secret: it tells a wrong or missing password from a file that is no key.
    return { path: keyPath, message: `the private key cannot be read (is restapi.keyfile_password right?): ${reason(error)}` };
  }
}

function checkCertificate(path: string, pem: string): ConfigFault | null {
  try {
    new X509Certificate(pem);
    return null;
  } catch (error) {
    return { path, message: `not a certificate in PEM format: ${reason(error)}` };
  }
}

async function readText(path: string, file: string): Promise<Result<string, ConfigFault>> {
  try {
    return ok(await readFile(file, "utf8"));
  } catch (error) {
    return fault(path, `cannot be read: ${reason(error)}`);
  }
}

function fault(path: string, message: string): Result<never, ConfigFault> {
  return err({ path, message });
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
