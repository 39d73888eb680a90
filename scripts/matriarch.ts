// Owns the entry of the one executable that scripts/build makes: its first word says which program the rest is for. From a source
// tree each of them is started by itself; nothing here is needed there.

import { PRODUCT_COMMAND, versionLine } from "../lib/model/product.ts";
import { PRODUCT_FORM } from "../lib/model/product-place.ts";

interface Program {
  readonly about: string;
  /** `drained`: what it printed is written out before the process ends. `at once`: whatever still runs ends with it. */
  readonly end: "drained" | "at once";
  /** Loaded only for the one that is asked for. Value: the exit status. */
  readonly main: (words: readonly string[]) => Promise<number>;
}

const PROGRAMS: Readonly<Record<string, Program>> = {
  supervisor: {
    end: "at once",
    about: "runs a node: PostgreSQL, its part of the cluster, its REST API",
    main: async (words) => (await import("../workers/supervisor.ts")).main(words, process.env),
  },
  ctl: {
    end: "drained",
    about: "looks after a cluster: what patronictl does",
    main: async (words) => (await import("../lib/cli/mains.ts")).mainOfCtl(words, [process.execPath, "ctl"]),
  },
  quickstart: {
    end: "at once",
    about: "a whole cluster on this machine, to try",
    main: async (words) => {
      const { runQuickstart } = await import("../lib/cli/quickstart/quickstart.ts");
      return await runQuickstart({ words, product: null, program: `${PRODUCT_COMMAND} quickstart` });
    },
  },
  raft: {
    end: "drained",
    about: "the members of the built-in Raft",
    main: async (words) => (await import("../lib/cli/mains.ts")).mainOfRaft(words),
  },
  "raft-node": {
    end: "at once",
    about: "a member of the Raft without PostgreSQL: a witness",
    main: async () => (await import("../workers/raft-node.ts")).main(),
  },
  backrest: {
    end: "drained",
    about: "pgBackRest for the hooks of a node: stanza, restore",
    main: async (words) => (await import("../lib/cli/mains.ts")).mainOfBackrest(words),
  },
  dcs: { end: "drained", about: "single keys of the store", main: async (words) => (await import("../lib/cli/mains.ts")).mainOfDcs(words) },
  "prepared-query": {
    end: "drained",
    about: "a cluster's prepared queries in Consul",
    main: async (words) => (await import("../lib/cli/mains.ts")).mainOfPreparedQuery(words),
  },
  "leader-race": {
    end: "at once",
    about: "judges one pass of a node, alone",
    main: async () => (await import("../workers/leader-race.ts")).main(),
  },
  "touch-member": {
    end: "at once",
    about: "publishes a node's member key once",
    main: async () => (await import("../workers/touch-member.ts")).main(),
  },
  watch: { end: "at once", about: "prints what changes in the store", main: async () => (await import("../workers/watch.ts")).main() },
  "failsafe-write": {
    end: "at once",
    about: "writes the failsafe key once",
    main: async () => (await import("../workers/failsafe-write.ts")).main(),
  },
  pgbouncer: {
    end: "at once",
    about: "leads a PgBouncer to the leader",
    main: async () => (await import("../workers/pgbouncer.ts")).main(),
  },
  discovery: {
    end: "at once",
    about: "keeps a node's entry in the Consul of its site, alone",
    main: async () => (await import("../workers/discovery.ts")).main(),
  },
  "http-api": {
    end: "at once",
    about: "answers role health of a node, alone",
    main: async () => (await import("../workers/http-api.ts")).main(),
  },
  backup: {
    end: "at once",
    about: "says which scheduled backups are due, and how the last ones ended",
    main: async () => (await import("../workers/backup.ts")).main(),
  },
  vip: {
    end: "at once",
    about: "says whether the address of the primary's host is here, or takes it off",
    main: async () => (await import("../workers/vip.ts")).main(),
  },
};

const USAGE_STATUS = 2;

function usage(): string {
  const width = Math.max(...Object.keys(PROGRAMS).map((name) => name.length));
  const lines = Object.entries(PROGRAMS).map(([name, { about }]) => `  ${name.padEnd(width)}  ${about}`);
  return [`usage: ${PRODUCT_COMMAND} PROGRAM [WORD]...`, `       ${PRODUCT_COMMAND} --version`, "", ...lines, ""].join("\n");
}

async function main(): Promise<number> {
  const [name = "", ...words] = process.argv.slice(2);
  if (name === "--version" || name === "-V") {
    process.stdout.write(`${versionLine()}\n`);
    return 0;
  }
  if (name === "--help" || name === "-h") {
    process.stdout.write(usage());
    return 0;
  }
  const program = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined;
  if (program === undefined) {
    process.stderr.write(name === "" ? usage() : `${PRODUCT_COMMAND}: there is no program ${name}\n${usage()}`);
    return USAGE_STATUS;
  }
  // The workers read their words from here, as when each is started by itself.
  process.argv.splice(2, 1);
  const status = await program.main(words);
  if (program.end === "at once") process.exit(status);
  return status;
}

if (PRODUCT_FORM === "source") throw new Error("this is the entry of the executable: start what is in workers/ and scripts/ by itself");
process.exitCode = await main();
