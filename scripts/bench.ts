// Owns nothing but the entry: the benchmarks of docs/benchmarks.md from a shell. What is measured is in scripts/benchmarks.

import { runBenchmarks } from "./benchmarks/run.ts";

process.exit(await runBenchmarks(process.argv.slice(2)));
