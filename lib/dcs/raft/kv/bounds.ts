// Owns the bounds of the key-value machine. Every member of a cluster must run with the same ones: what is refused
// because of them is part of the replicated state. So they are constants of the product; tests set smaller ones.

export interface KeyValueBounds {
  /** Changes of one transaction. */
  readonly changesMax: number;
  /** UTF-8 bytes. */
  readonly valueBytesMax: number;
  /** UTF-8 bytes. */
  readonly keyBytesMax: number;
  /** Bytes of one encoded command, so that it fits a frame and a log segment whatever else they carry. */
  readonly payloadBytesMax: number;
  readonly keysMax: number;
  /** Of all keys and values together, in UTF-16 code units. */
  readonly textMax: number;
  readonly sessionsMax: number;
  /** Of a session's id, name and place and of a client's id, in UTF-16 code units. */
  readonly nameMax: number;
  /** A shorter wish is raised to it. */
  readonly sessionTtlMinMs: number;
  /** A longer wish is lowered to it. */
  readonly sessionTtlMaxMs: number;
  /** Registered clients; one more takes the place of the one that is idle longest. */
  readonly clientsMax: number;
  /** A registration ends after this long without a command, in cluster time. */
  readonly clientIdleMs: number;
  /** Answers of one client that it has not acknowledged; beyond it, it has to wait, except with the oldest one that is open. */
  readonly answersMax: number;
  /** Of all clients together; beyond it the client that is idle longest is forgotten. */
  readonly allAnswersMax: number;
  /** Changes of keys that a watch can look back on. */
  readonly historyMax: number;
  /** Expiries that the leader proposes at once. */
  readonly expiriesMax: number;
  /** Watches that wait on one member. */
  readonly subscriptionsMax: number;
}

export const KEY_VALUE_BOUNDS: KeyValueBounds = {
  changesMax: 32,
  valueBytesMax: 512 * 1024,
  keyBytesMax: 1024,
  payloadBytesMax: 2 * 1024 * 1024,
  keysMax: 100_000,
  textMax: 128 * 1024 * 1024,
  sessionsMax: 10_000,
  nameMax: 256,
  sessionTtlMinMs: 100,
  sessionTtlMaxMs: 86_400_000,
  clientsMax: 10_000,
  clientIdleMs: 3_600_000,
  answersMax: 1024,
  allAnswersMax: 100_000,
  historyMax: 10_000,
  expiriesMax: 256,
  subscriptionsMax: 10_000,
};
