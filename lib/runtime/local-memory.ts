// Owns what a node remembers of its own server: what it saw last, what it did to it, and what it still knows from before. Plain data; the
// HA loop and its effects write it.

import type { StandbyRole } from "../core/decision.ts";
import type { ControlData, DataDirectory, FollowTarget, PostgresStatus, PostmasterProcess } from "../model/postgres.ts";
import type { Lsn, Ms, Timeline } from "../model/units.ts";

/** What is known of the server under our eyes. */
export interface LocalMemory {
  dataDirectory: DataDirectory;
  wayBack: string | null;
  process: PostmasterProcess;
  status: PostgresStatus | null;
  statusError: string | null;
  lastRole: "primary" | "replica" | null;
  control: ControlData | null;
  systemIdentifier: string | null;
  crashedAt: Ms | null;
  unservedSince: Ms | null;
  statusMissingSince: Ms | null;
  /** What of it was told since the last status. */
  toldTroubles: ReadonlySet<string>;
  upstream: string;
  /** As what the server was last started or pointed at its source. */
  standbyRole: StandbyRole;
  /** What the standby was last pointed at by this process; null where nothing, or where that is not known. */
  source: FollowTarget | null;
  notStreamingSince: Ms | null;
  slotsFor: string | null;
  slotsSeen: ReadonlySet<string>;
  slotsAt: Ms | null;
  historyPublished: Timeline | null;
  syncNamesSince: { readonly names: string; readonly lsn: Lsn; readonly at: Ms } | null;
  /**
   * The present synchronous_standby_names, and since when it was seen. `waits`: whether commits wait for them; none where nobody has asked, or
   * they need not.
   */
  syncNamesSeen: { readonly names: string; readonly at: Ms; readonly waits?: "yes" | "not-yet" } | null;
  /** Other names are being written and told. */
  syncNamesChanging: boolean;
  promotedAt: Ms | null;
  rewindFailed: boolean;
  /** The start of a stopped standby that was to be started before anything else has failed, and nothing has helped or was tried since. */
  startFailed: boolean;
  /** Why pg_rewind was refused until this crashed standby has been started; null where it was not. */
  startsFirst: string | null;
  /** The timeline that pg_rewind was last needed for, and whether it was done. */
  rewound: { readonly timeline: Timeline; readonly done: boolean } | null;
  syncNamesManaged: boolean;
  /** Since synchronous mode was switched off, the server has been told to take what its own parameters say. */
  syncNamesReleased: boolean;
  /** The checkpoint after our promotion has been done; null where we promoted nothing. */
  checkpointAfterPromote: boolean | null;
}

/** Before the first look. */
export function nothingSeen(): LocalMemory {
  return {
    dataDirectory: { kind: "absent" },
    wayBack: null,
    process: { kind: "none" },
    status: null,
    statusError: null,
    lastRole: null,
    control: null,
    systemIdentifier: null,
    crashedAt: null,
    unservedSince: null,
    statusMissingSince: null,
    toldTroubles: new Set(),
    upstream: "",
    standbyRole: "standby",
    source: null,
    notStreamingSince: null,
    slotsFor: null,
    slotsSeen: new Set(),
    slotsAt: null,
    historyPublished: null,
    syncNamesSince: null,
    syncNamesSeen: null,
    syncNamesChanging: false,
    promotedAt: null,
    rewindFailed: false,
    startFailed: false,
    startsFirst: null,
    rewound: null,
    syncNamesManaged: false,
    syncNamesReleased: false,
    checkpointAfterPromote: null,
  };
}
