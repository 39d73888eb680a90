#!/usr/bin/env bun
// Owns nothing but the entry: the cluster from a shell. The commands are in lib/cli/ctl.

import { mainOfCtl } from "../lib/cli/mains.ts";

process.exitCode = await mainOfCtl(process.argv.slice(2), [process.execPath, "run", import.meta.path]);
