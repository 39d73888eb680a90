// Owns what is said of one thing that was looked at: by the doctor, and before a major upgrade. Plain data.

/** `unknown`: it could not be looked at from here, and `says` tells why. */
export type Verdict = "fine" | "warning" | "fault" | "unknown";

export interface Finding {
  /** What was looked at, e.g. `consul acl`, `tls restapi.certfile`. */
  readonly subject: string;
  readonly verdict: Verdict;
  /** What was found. Never a secret. */
  readonly says: string;
  /** What to do, as exactly as it is known; null where there is nothing to do. */
  readonly fix: string | null;
}

export function fine(subject: string, says: string): Finding {
  return { subject, verdict: "fine", says, fix: null };
}

export function unknown(subject: string, says: string, fix: string | null = null): Finding {
  return { subject, verdict: "unknown", says, fix };
}

export function warning(subject: string, says: string, fix: string): Finding {
  return { subject, verdict: "warning", says, fix };
}

export function fault(subject: string, says: string, fix: string): Finding {
  return { subject, verdict: "fault", says, fix };
}
