// Owns how findings are shown. Looks at nothing itself.

import type { Finding, Verdict } from "../../model/finding.ts";

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
