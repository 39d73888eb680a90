// Owns the text form of measures, as Prometheus reads it (exposition format 0.0.4). Knows no names and no node.

import type { HistogramSample, Labels, MetricFamily } from "../model/metric.ts";

/** One family with its HELP and TYPE; every sample carries `base` first, as labelPairs wrote it once for all of them. */
export function familyText(prefix: string, base: string, family: MetricFamily): string {
  const name = `${prefix}${family.name}`;
  const head = `# HELP ${name} ${escapeHelp(family.help)}\n# TYPE ${name} ${family.kind}\n`;
  if (family.kind === "histogram") return head + family.samples.map((sample) => histogramText(name, base, sample)).join("");
  return head + family.samples.map(({ labels, value }) => `${name}${braces(base, labelPairs(labels))} ${value}\n`).join("");
}

function histogramText(name: string, base: string, { labels, buckets, sum, count }: HistogramSample): string {
  const own = labelPairs(labels);
  const lines = buckets.map(([atMost, below]) => `${name}_bucket${braces(base, own, `le="${atMost}"`)} ${below}\n`);
  const all = braces(base, own);
  return `${lines.join("")}${name}_bucket${braces(base, own, 'le="+Inf"')} ${count}\n${name}_sum${all} ${sum}\n${name}_count${all} ${count}\n`;
}

function braces(...pairs: readonly string[]): string {
  const [base = "", own] = pairs;
  if (own === "" && pairs.length === 2 && base !== "") return `{${base}}`;
  const text = pairs.filter((pair) => pair !== "").join(",");
  return text === "" ? "" : `{${text}}`;
}

/** `a="1",b="2"`; "" for none. */
export function labelPairs(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(",");
}

export function escapeLabel(text: string): string {
  // Hardly any has something to escape.
  if (!/[\\"\n]/.test(text)) return text;
  return text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}

function escapeHelp(text: string): string {
  if (!/[\\\n]/.test(text)) return text;
  return text.replace(/\\/g, "\\\\").replace(/\n/g, "\\n");
}
