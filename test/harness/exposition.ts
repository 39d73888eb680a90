// Owns a reader of Prometheus' text format 0.0.4 that finds every fault: the place of HELP and TYPE, names, labels, values, what a
// histogram has to be. Source: https://prometheus.io/docs/instrumenting/exposition_formats/

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y;
const VALUE = /^(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|NaN|[+-]Inf)$/;

export interface ReadSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  readonly name: string;
  type: string | null;
  readonly samples: ReadSample[];
}

export interface Exposition {
  readonly faults: readonly string[];
  readonly samples: readonly ReadSample[];
  /** By family. */
  readonly types: ReadonlyMap<string, string>;
}

export function readExposition(text: string): Exposition {
  const faults: string[] = [];
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let current: Family | null = null;
  if (!text.endsWith("\n")) faults.push("the last line has no end");
  for (const line of text.split("\n").slice(0, -1)) {
    const head = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (head !== null) {
      const [, what, name = "", rest = ""] = head;
      if (!NAME.test(name)) faults.push(`not a name: ${line}`);
      if (what === "HELP") {
        if (families.has(name)) faults.push(`${name}: its lines do not stand together, or HELP comes twice`);
        current = { name, type: null, samples: [] };
        families.set(name, current);
      } else if (current?.name !== name || current.type !== null || current.samples.length > 0) faults.push(`TYPE out of place: ${line}`);
      else if (!/^(counter|gauge|histogram|summary|untyped)$/.test(rest)) faults.push(`not a type: ${line}`);
      else current.type = rest;
      continue;
    }
    if (line.startsWith("#")) continue;
    const sample = readSample(line, faults);
    if (sample === null) continue;
    const identity = JSON.stringify([sample.name, Object.entries(sample.labels).sort()]);
    if (seen.has(identity)) faults.push(`twice: ${line}`);
    seen.add(identity);
    if (current === null || current.type === null || familyOf(sample.name, current.type) !== current.name) {
      faults.push(`without HELP and TYPE of its own: ${line}`);
    } else current.samples.push(sample);
  }
  for (const family of families.values()) judgeFamily(family, faults);
  const all = [...families.values()];
  return { faults, samples: all.flatMap(({ samples }) => samples), types: new Map(all.map(({ name, type }) => [name, type ?? ""])) };
}

function readSample(line: string, faults: string[]): ReadSample | null {
  const match = SAMPLE.exec(line);
  if (match === null || !VALUE.test(match[3] ?? "")) {
    faults.push(`not a sample: ${JSON.stringify(line)}`);
    return null;
  }
  const [, name = "", written = "", value = ""] = match;
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < written.length) {
    const label = LABEL.exec(written);
    if (label === null) {
      faults.push(`labels cannot be read: ${line}`);
      return null;
    }
    if (Object.hasOwn(labels, label[1] ?? "")) faults.push(`a label twice: ${line}`);
    labels[label[1] ?? ""] = label[2] ?? "";
  }
  return { name, labels, value: Number(value.replace("Inf", "Infinity")) };
}

function familyOf(name: string, type: string): string {
  return type === "histogram" ? name.replace(/_(?:bucket|sum|count)$/, "") : name;
}

function judgeFamily({ name, type, samples }: Family, faults: string[]): void {
  if (type === null) faults.push(`${name}: no TYPE`);
  if (type === "counter" && samples.some(({ value }) => !(value >= 0))) faults.push(`${name}: a counter below zero`);
  if (type !== "histogram") return;
  const series = new Map<string, { buckets: { le: number; value: number }[]; sum: number | null; count: number | null }>();
  for (const sample of samples) {
    const { le, ...rest } = sample.labels;
    const key = JSON.stringify(Object.entries(rest).sort());
    const one = series.get(key) ?? { buckets: [], sum: null, count: null };
    series.set(key, one);
    if (sample.name.endsWith("_bucket")) one.buckets.push({ le: Number(le?.replace("Inf", "Infinity") ?? "NaN"), value: sample.value });
    else if (sample.name.endsWith("_sum")) one.sum = sample.value;
    else if (sample.name.endsWith("_count")) one.count = sample.value;
    else faults.push(`${name}: ${sample.name} is no part of a histogram`);
  }
  for (const [key, { buckets, sum, count }] of series) {
    const rising = buckets.every(
      (bucket, at) => at === 0 || (bucket.le > (buckets[at - 1]?.le ?? 0) && bucket.value >= (buckets[at - 1]?.value ?? 0)),
    );
    if (!rising) faults.push(`${name} ${key}: its buckets do not rise`);
    const last = buckets.at(-1);
    if (last?.le !== Number.POSITIVE_INFINITY || last.value !== count)
      faults.push(`${name} ${key}: the last bucket is not +Inf with the count`);
    if (sum === null || count === null) faults.push(`${name} ${key}: sum or count is missing`);
  }
}
