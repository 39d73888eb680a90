import { expect, test } from "bun:test";
import { Counter, Histogram } from "../../../lib/model/tally.ts";

test("a counter keeps at most 256 series: what is beyond counts as other, and nothing is lost", () => {
  const counter = new Counter("rule");
  for (let index = 0; index < 1000; index += 1) counter.add([`rule-${index}`]);
  const samples = counter.samples();
  expect(samples.length).toBe(256);
  expect(samples.find(({ labels }) => labels["rule"] === "other")?.value).toBe(745);
  expect(samples.reduce((sum, { value }) => sum + Number(value), 0)).toBe(1000);
});

test("a histogram counts a value in each bucket that holds it, and one beyond the last in the count alone", () => {
  const histogram = new Histogram([1, 10], "what");
  for (const value of [0.5, 1, 5, 50]) histogram.note(["a"], value);
  expect(histogram.samples()).toEqual([
    {
      labels: { what: "a" },
      buckets: [
        [1, 2],
        [10, 3],
      ],
      sum: 56.5,
      count: 4,
    },
  ]);
});

test("a series can be shown before its first value", () => {
  const histogram = new Histogram([1]);
  histogram.know([]);
  expect(histogram.samples()).toEqual([{ labels: {}, buckets: [[1, 0]], sum: 0, count: 0 }]);
});
