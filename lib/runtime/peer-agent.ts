// Owns the connections to other members: the HTTP client with its bounds, and the certificates that it shows and believes. Knows no path
// and no credential (peer-client.ts).

import { readFile } from "node:fs/promises";
import type { Dispatcher } from "undici/index.js";
// biome-ignore lint/style/noRestrictedImports: a part of undici, whose folder has the name of one of ours
import request from "undici/lib/api/api-request.js";
import Agent from "undici/lib/dispatcher/agent.js";
import type { ConfigFault } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { PeerSettings } from "./peer-client.ts";

/** A status document is a few kilobytes; a peer that sends more is not one. */
const MAX_RESPONSE_BYTES = 1024 * 1024;
/** Per member. One request on each at a time, so that a hung one holds up no other. */
const CONNECTIONS_PER_MEMBER = 8;
/** A host that drops packets holds a connection slot this long, and no caller. */
const CONNECT_TIMEOUT_MS = 2_000;
/** Shorter than the idle timeout of our own listener (10 s), so that the server does not close under a request. */
const KEEP_ALIVE_MS = 4_000;

export interface PeerAgent {
  /** Rejects where no answer came. */
  request(options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData>;
  /** Resolves when what is under way has ended. */
  close(): Promise<void>;
  /** Gives up what is under way. */
  destroy(): Promise<void>;
}

/** The API's own CA and certificate serve the client side too where `ctl` names none. */
export async function makeAgent({ ctl, restapi }: PeerSettings): Promise<Result<PeerAgent, ConfigFault>> {
  const ca = await readPem(ctl.cacert === null ? ["restapi.cafile", restapi.cafile] : ["ctl.cacert", ctl.cacert]);
  if (!ca.ok) return ca;
  const own = ctl.certfile === null ? { section: "restapi", ...restapi } : { section: "ctl", ...ctl };
  const cert = await readPem([`${own.section}.certfile`, own.certfile]);
  if (!cert.ok) return cert;
  const key = own.keyfile === null ? cert : await readPem([`${own.section}.keyfile`, own.keyfile]);
  if (!key.ok) return key;
  const agent = new Agent({
    connections: CONNECTIONS_PER_MEMBER,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    maxResponseSize: MAX_RESPONSE_BYTES,
    connect: {
      timeout: CONNECT_TIMEOUT_MS,
      rejectUnauthorized: !ctl.insecure,
      ...(ca.value === null ? {} : { ca: ca.value }),
      ...(cert.value === null ? {} : { cert: cert.value }),
      ...(key.value === null ? {} : { key: key.value }),
      ...(own.keyfilePassword === null ? {} : { passphrase: own.keyfilePassword }),
    },
  });
  return ok({ request: (options) => request.call(agent, options), close: () => agent.close(), destroy: () => agent.destroy() });
}

async function readPem([path, file]: readonly [string, string | null]): Promise<Result<string | null, ConfigFault>> {
  if (file === null) return ok(null);
  try {
    return ok(await readFile(file, "utf8"));
  } catch (error) {
    return err({ path, message: `cannot be read: ${error instanceof Error ? error.message : String(error)}` });
  }
}
