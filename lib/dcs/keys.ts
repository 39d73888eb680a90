// Owns the key layout of a cluster in the DCS (contract §2; the lease mark: docs/adr/0002). Knows no values.

/** The keys of one cluster, or of one MPP group of it. */
export interface ClusterKeys {
  /** What every key but the lease mark begins with; ends with a slash. */
  readonly prefix: string;
  readonly initialize: string;
  readonly leader: string;
  readonly config: string;
  readonly failover: string;
  readonly sync: string;
  readonly history: string;
  readonly status: string;
  readonly failsafe: string;
  /** The leader is about to hand over: for poolers, under its session (docs/adr/0008). */
  readonly handover: string;
  /** What the keys of the poolers that follow the cluster begin with; each stands under its worker's session. */
  readonly poolers: string;
  readonly restore: string;
  /** What the cluster remembers of its scheduled backups; and who takes one now, under its session (docs/adr/0010). */
  readonly backup: string;
  readonly backupRun: string;
  readonly upgrade: string;
  /** Beside the prefix, so that rewriting it wakes no watch of the cluster. */
  readonly leaseMark: string;
  /** Beside it for the same reason, and because nobody reads it but who asks for it (config-history.ts). */
  readonly configHistory: string;
  /** Beside it as well: of the operator's command alone (rolling-record.ts). */
  readonly rollingRestart: string;
  /** Beside it as well: where the cluster went to, or comes from (cluster-seal.ts). */
  readonly moved: string;
}

/** A key's place below the prefix. */
export type KeyPlace =
  | { readonly kind: "member"; readonly name: string }
  | { readonly kind: "group"; readonly group: string }
  | { readonly kind: "plain"; readonly name: string };

const MEMBERS = "members/";

/** `namespace` without slashes at its ends; it may be empty. */
export function clusterKeys(place: { readonly namespace: string; readonly scope: string; readonly group: number | null }): ClusterKeys {
  const parts = [place.namespace, place.scope, place.group === null ? "" : String(place.group)];
  const root = parts.filter((part) => part !== "").join("/");
  return keysBelow(root);
}

/** The keys of an MPP group of the cluster. */
export function groupKeys(keys: ClusterKeys, group: string): ClusterKeys {
  return keysBelow(keys.prefix + group);
}

export function memberKey(keys: ClusterKeys, name: string): string {
  return `${keys.prefix}${MEMBERS}${name}`;
}

/** Sorts a key below the prefix by what it is; null for what is nobody's (`members/a/b`). */
export function placeOf(keys: ClusterKeys, key: string): KeyPlace | null {
  const name = key.slice(keys.prefix.length);
  if (name.startsWith(MEMBERS)) {
    const member = name.slice(MEMBERS.length);
    return member === "" || member.includes("/") ? null : { kind: "member", name: member };
  }
  const group = /^(0|[1-9]\d*)\//.exec(name)?.[1];
  return group === undefined ? { kind: "plain", name } : { kind: "group", group };
}

function keysBelow(root: string): ClusterKeys {
  const prefix = `${root}/`;
  return {
    prefix,
    initialize: `${prefix}initialize`,
    leader: `${prefix}leader`,
    config: `${prefix}config`,
    failover: `${prefix}failover`,
    sync: `${prefix}sync`,
    history: `${prefix}history`,
    status: `${prefix}status`,
    failsafe: `${prefix}failsafe`,
    handover: `${prefix}handover`,
    poolers: `${prefix}poolers/`,
    restore: `${prefix}restore`,
    backup: `${prefix}backup`,
    backupRun: `${prefix}backup_run`,
    upgrade: `${prefix}upgrade`,
    leaseMark: `${root}.lease`,
    configHistory: `${root}.config_history`,
    rollingRestart: `${root}.rolling_restart`,
    moved: `${root}.moved`,
  };
}
