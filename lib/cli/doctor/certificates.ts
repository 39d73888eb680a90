// Owns the doctor's look at certificates: whether they can be read, belong to their keys, are valid for long enough, are signed by
// the authority that is named, and name the address that others connect to. Reads files; connects to nobody.

import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { type Finding, fault, fine, unknown, warning } from "../../model/finding.ts";
import type { NodeConfig } from "../../model/node-config.ts";

const DAY_MS = 86_400_000;
/** Time enough to notice, and to renew. */
const EXPIRES_SOON_DAYS = 21;

interface Place {
  /** As it is written, e.g. `restapi.certfile`. */
  readonly option: string;
  readonly certfile: string | null;
  readonly keyfile: string | null;
  readonly keyPassword: string | null;
  readonly cafile: string | null;
  /** The host that others connect to; null where it only shows itself to servers. */
  readonly host: string | null;
}

export async function certificateFindings(config: NodeConfig, now: number): Promise<readonly Finding[]> {
  const found = await Promise.all(placesOf(config).map((place) => look(place, now)));
  return found.flat();
}

function placesOf(config: NodeConfig): readonly Place[] {
  const { restapi, ctl, consul, raft } = config;
  const api: Place = {
    option: "restapi.certfile",
    certfile: restapi.certfile,
    keyfile: restapi.keyfile,
    keyPassword: restapi.keyfilePassword,
    cafile: restapi.cafile,
    host: restapi.connectAddress.host,
  };
  const places: Place[] = [
    api,
    { option: "ctl.certfile", certfile: ctl.certfile, keyfile: ctl.keyfile, keyPassword: ctl.keyfilePassword, cafile: null, host: null },
  ];
  if (consul !== null)
    places.push({ option: "consul.cert", certfile: consul.cert, keyfile: consul.key, keyPassword: null, cafile: null, host: null });
  if (raft !== null)
    places.push({
      option: "raft.certfile",
      certfile: raft.certfile,
      keyfile: raft.keyfile,
      keyPassword: raft.keyfilePassword,
      cafile: raft.cafile,
      host: null,
    });
  return places.filter(({ certfile }) => certfile !== null);
}

async function look(place: Place, now: number): Promise<readonly Finding[]> {
  const subject = `tls ${place.option}`;
  const chain = await certificatesIn(place.certfile ?? "");
  if (typeof chain === "string") return [fault(subject, chain, `name a PEM file with a certificate in ${place.option}`)];
  const [own] = chain;
  if (own === undefined)
    return [fault(subject, `${place.certfile} holds no certificate`, `name a PEM file with a certificate in ${place.option}`)];
  return [
    validity(subject, own, now),
    ...(await keyFinding(subject, own, place)),
    ...(await chainFinding(subject, chain, place)),
    ...hostFinding(subject, own, place),
  ];
}

function validity(subject: string, own: X509Certificate, now: number): Finding {
  const until = own.validToDate.getTime();
  const days = Math.floor((until - now) / DAY_MS);
  if (now < own.validFromDate.getTime())
    return fault(subject, `it is valid only from ${own.validFrom} on`, "set this host's clock, or wait");
  if (days < 0) return fault(subject, `it expired on ${own.validTo}`, "renew it, then reload");
  const text = `valid for ${days} days, until ${own.validTo}`;
  return days < EXPIRES_SOON_DAYS ? warning(subject, text, "renew it, then reload: no port is dropped") : fine(subject, text);
}

async function keyFinding(subject: string, own: X509Certificate, place: Place): Promise<readonly Finding[]> {
  try {
    const key = createPrivateKey({
      key: await readFile(place.keyfile ?? place.certfile ?? ""),
      ...(place.keyPassword === null ? {} : { passphrase: place.keyPassword }),
    });
    return own.checkPrivateKey(key)
      ? [fine(subject, "the key belongs to it")]
      : [fault(subject, "the key is another certificate's", "name the key that belongs to it")];
  } catch (error) {
    return [fault(subject, `its key cannot be used: ${messageOf(error)}`, "name a readable PEM key, and its password where it has one")];
  }
}

async function chainFinding(subject: string, chain: readonly X509Certificate[], place: Place): Promise<readonly Finding[]> {
  if (place.cafile === null) return [];
  const roots = await certificatesIn(place.cafile);
  if (typeof roots === "string") return [fault(subject, roots, "name a PEM file with the authority's certificate in cafile")];
  let current = chain[0];
  // Each step takes one certificate of the chain: it ends.
  for (const _ of chain) {
    const subjectOf = current;
    if (subjectOf === undefined) break;
    const root = roots.find((authority) => subjectOf.checkIssued(authority) && subjectOf.verify(authority.publicKey));
    if (root !== undefined) return [fine(subject, `signed by ${oneLine(root.subject)}`)];
    current = chain.find((next) => next !== subjectOf && subjectOf.checkIssued(next) && subjectOf.verify(next.publicKey));
  }
  return [
    fault(
      subject,
      `no authority of ${place.cafile} has signed it`,
      "append the certificates between to certfile, or name the right cafile",
    ),
  ];
}

function hostFinding(subject: string, own: X509Certificate, place: Place): readonly Finding[] {
  const { host } = place;
  if (host === null) return [];
  const named = isIP(host) === 0 ? own.checkHost(host) : own.checkIP(host);
  if (named !== undefined) return [fine(subject, `it names ${host}`)];
  return [
    fault(
      subject,
      `it does not name ${host}, which others connect to`,
      `add ${host} to its subjectAltName, or change restapi.connect_address`,
    ),
  ];
}

/** The certificates of a PEM file, or one line that says why there are none. */
async function certificatesIn(path: string): Promise<readonly X509Certificate[] | string> {
  try {
    const text = await readFile(path, "utf8");
    const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    return `${path} cannot be read: ${messageOf(error)}`;
  }
}

function oneLine(name: string): string {
  return name.replaceAll("\n", ", ");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Nothing to look at is worth a line as well. */
export function plainFindings(config: NodeConfig): readonly Finding[] {
  const { restapi, raft } = config;
  const local = /^(127\.|::1$|localhost$)/.test(restapi.listen.host);
  const findings: Finding[] = [];
  if (!local && restapi.certfile === null)
    findings.push(warning("tls restapi.certfile", "the API speaks plain HTTP on a network", "write restapi: {certfile, keyfile, cafile}"));
  const noCredential = restapi.authentication === null && restapi.tokens.length === 0;
  if (!local && noCredential && restapi.verifyClient === "none" && restapi.allowlist.length === 0)
    findings.push(
      warning(
        "access restapi",
        "whoever reaches the API may switch over, restart and reconfigure",
        "write restapi.authentication, tokens, verify_client or allowlist",
      ),
    );
  if (raft?.insecure === true)
    findings.push(warning("tls raft", "raft.insecure: members speak in the clear", "write raft.password, or certfile, keyfile and cafile"));
  if (raft !== null && raft.password === null && raft.certfile === null && !raft.insecure)
    findings.push(unknown("tls raft", "members speak in the clear, over loopback alone"));
  return findings;
}
