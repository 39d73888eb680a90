// Owns what the doctor says of one thing that it looked at, and how that is shown. Looks at nothing itself.

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

/** One line for each finding, its remedy below it, and a last line that counts. */
export function findingsText(findings: readonly Finding[]): string {
  const width = Math.max(0, ...findings.map(({ subject }) => subject.length));
  const lines = findings.flatMap(({ subject, verdict, says, fix }) => {
    const first = `${verdict.padEnd(7)}  ${subject.padEnd(width)}  ${says}`;
    return fix === null ? [first] : [first, `${" ".repeat(width + 11)}→ ${fix}`];
  });
  const count = (verdict: Verdict) => findings.filter((finding) => finding.verdict === verdict).length;
  const total = `${count("fault")} to mend, ${count("warning")} to think about, ${count("unknown")} not known, ${count("fine")} fine`;
  return [...lines, "", total, ""].join("\n");
}
