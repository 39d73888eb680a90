#!/usr/bin/env bun
// Owns nothing but the entry: the members of the built-in Raft from a shell. The commands are in lib/cli/raft.

import { mainOfRaft } from "../lib/cli/mains.ts";

process.exitCode = await mainOfRaft(process.argv.slice(2));
