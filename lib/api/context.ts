// Owns what every group of routes is given: the node, the settings in force, and who is asking.

import type { Hono } from "hono";
import type { Log } from "../model/log.ts";
import type { RestApiConfig } from "../model/node-config.ts";
import type { NodeService } from "../runtime/node-service.ts";

export interface ApiContext {
  readonly service: NodeService;
  readonly log: Log;
  /** The `restapi` section in force; a reload exchanges it. */
  readonly settings: () => RestApiConfig;
  /** Epoch milliseconds, for appointments only. */
  readonly wallNow: () => number;
}

/** The other end of a connection. */
export interface Peer {
  /** IP address as text; "" when it is not known (then no allowlist lets it in). */
  readonly address: string;
  /** `unverified` where verify_client is optional and the client showed no certificate that the cafile signed. */
  readonly certificate: "not-asked" | "verified" | "unverified";
  /** Lets an answer take this long (seconds, at most 255) although nothing is sent meanwhile. */
  readonly allowSilence: (seconds: number) => void;
}

export interface ApiBindings {
  readonly Bindings: Peer;
}

export type ApiApp = Hono<ApiBindings>;
