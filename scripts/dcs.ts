#!/usr/bin/env bun
// Owns nothing but the entry: single keys of the store from a shell. The commands are in lib/cli/dcs.ts.

import { mainOfDcs } from "../lib/cli/mains.ts";

process.exitCode = await mainOfDcs(process.argv.slice(2));
