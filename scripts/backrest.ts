#!/usr/bin/env bun
// Owns nothing but the entry: pgBackRest for the hooks of a node. The commands are in lib/cli/backrest.ts.

import { mainOfBackrest } from "../lib/cli/mains.ts";

process.exitCode = await mainOfBackrest(process.argv.slice(2));
