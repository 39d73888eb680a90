// Owns what this node publishes about itself in its member key (contract §2). Reads the state, changes nothing.

import type { Tags } from "../model/member.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { COMPATIBLE_PATRONI_VERSION, PRODUCT_NAME, PRODUCT_VERSION } from "../model/product.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeState } from "./node-state.ts";
import { postgresRole, postgresState } from "./postgres-words.ts";
import { scheduledRestartFields } from "./scheduled-restart.ts";

const PRODUCT = Object.freeze({ name: PRODUCT_NAME, version: PRODUCT_VERSION });

/** The member JSON as an object, fields in the order Patroni writes them. */
export function memberRecord(context: NodeContext): Readonly<Record<string, unknown>> {
  const { state, postgres } = context;
  const { node } = state.settings;
  const { connUrl, url, tags, hasTags } = fixedOf(node);
  const record: Record<string, unknown> = {
    conn_url: connUrl,
    api_url: url,
    state: postgresState(state),
    role: postgresRole(state),
    version: COMPATIBLE_PATRONI_VERSION,
  };
  if (node.postgresql.proxyAddress !== null) record["proxy_url"] = `postgres://${node.postgresql.proxyAddress}/postgres`;
  if (state.releaseAskedAt !== null) record["tags"] = { ...tags, nosync: true };
  else if (hasTags) record["tags"] = tags;
  const pending = postgres.pendingRestart();
  if (Object.keys(pending).length > 0) {
    record["pending_restart"] = true;
    record["pending_restart_reason"] = pending;
  }
  addPositions(record, state);
  if (state.local.checkpointAfterPromote === false && state.local.lastRole === "primary") record["checkpoint_after_promote"] = false;
  const restart = scheduledRestartFields(state);
  if (restart !== null) record["scheduled_restart"] = restart;
  if (state.settings.dynamic.pause && !context.watchdog.armed) record["pause"] = true;
  record["product"] = PRODUCT;
  return record;
}

function addPositions(record: Record<string, unknown>, state: NodeState): void {
  const status = state.local.status;
  if (status === null) return;
  if (!status.inRecovery) {
    if (status.walLsn !== null) record["xlog_location"] = status.walLsn;
  } else {
    const received = status.receivedLsn ?? 0n;
    const replayed = status.replayedLsn ?? 0n;
    record["xlog_location"] = received > replayed ? received : replayed;
    if (status.replayedLsn !== null) record["replay_lsn"] = status.replayedLsn;
    if (status.receivedLsn !== null) record["receive_lsn"] = status.receivedLsn;
    if (status.replicationState !== null) record["replication_state"] = status.replicationState;
  }
  if (status.timeline !== null) record["timeline"] = status.timeline;
}

/** What the node's own configuration alone decides. */
interface Fixed {
  readonly connUrl: string;
  readonly url: string;
  readonly tags: Readonly<Record<string, unknown>>;
  readonly hasTags: boolean;
}

/** A configuration is immutable; a reload brings another one. */
const fixed = new WeakMap<NodeConfig, Fixed>();

function fixedOf(node: NodeConfig): Fixed {
  const known = fixed.get(node);
  if (known !== undefined) return known;
  const { connectAddress } = node.postgresql;
  const scheme = node.restapi.certfile === null ? "http" : "https";
  const api = node.restapi.connectAddress;
  const tags = Object.freeze(keptTags(node.tags));
  const made: Fixed = {
    connUrl: `postgres://${hostText(connectAddress.host)}:${connectAddress.port}/postgres`,
    url: `${scheme}://${hostText(api.host)}:${api.port}/patroni`,
    tags,
    hasTags: Object.keys(tags).length > 0,
  };
  fixed.set(node, made);
  return made;
}

/** The known tags that are false are left out; the order of the file is kept. */
export function publishedTags(state: NodeState): Readonly<Record<string, unknown>> {
  return fixedOf(state.settings.node).tags;
}

const MAY_BE_LEFT_OUT: ReadonlySet<string> = new Set(["nofailover", "noloadbalance", "clonefrom", "nosync", "nostream"]);

function keptTags(tags: Tags): Readonly<Record<string, unknown>> {
  const kept = Object.entries(tags).filter(([name, value]) => {
    if (value === null) return false;
    if (!MAY_BE_LEFT_OUT.has(name) || value !== false) return true;
    return (name === "nofailover" && tags["failover_priority"] !== undefined) || (name === "nosync" && tags["sync_priority"] !== undefined);
  });
  return Object.fromEntries(kept);
}

export function connUrl(state: NodeState): string {
  return fixedOf(state.settings.node).connUrl;
}

export function apiUrl(state: NodeState): string {
  return fixedOf(state.settings.node).url;
}

function hostText(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
