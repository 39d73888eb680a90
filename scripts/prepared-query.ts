#!/usr/bin/env bun
// Owns nothing but the entry: a cluster's prepared queries in Consul. The commands are in lib/cli/prepared-query.

import { mainOfPreparedQuery } from "../lib/cli/mains.ts";

process.exitCode = await mainOfPreparedQuery(process.argv.slice(2));
