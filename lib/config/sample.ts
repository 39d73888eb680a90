// Owns the sample configuration: what an operator starts from. Built from the schemas' defaults and the environment; it holds
// `#FIXME` where only the operator knows. Reads nothing from disk.

import { type Environment, readEnvironment } from "./environment.ts";
import { EMPTY_TREE, mergeTrees, type Tree } from "./tree.ts";
import { writeYaml } from "./yaml-write.ts";

export const FIXME = "#FIXME";

export interface Machine {
  readonly hostname: string;
  /** The address at which the other nodes reach this machine. */
  readonly address: string;
}

/** The text of a file that loads (with warnings for each `#FIXME`). `additions`: what was asked for beside the rest. */
export function sampleConfig(machine: Machine, env: Environment, additions: (scope: string) => Tree = () => EMPTY_TREE): string {
  const { tree } = readEnvironment(env);
  const scope = typeof tree["scope"] === "string" ? tree["scope"] : FIXME;
  const whole = mergeTrees(mergeTrees(sampleTree(machine), additions(scope)), sampleStore(machine, tree));
  return writeConfig(mergeTrees(whole, tree));
}

/** The section of the store, where the environment names none: a member of the built-in Raft. */
export function sampleStore(machine: Machine, environment: Tree): Tree {
  if ("consul" in environment || "raft" in environment) return {};
  const member = { self_addr: `${machine.address}:${RAFT_PORT}`, partner_addrs: [`${FIXME}:${RAFT_PORT}`] };
  return { raft: { ...member, data_dir: "/var/lib/matriarch/raft", password: FIXME } };
}

/** The port of the examples in the documentation. */
const RAFT_PORT = 5010;

export function writeConfig(tree: Tree): string {
  return writeYaml(tree)
    .replace(/^raft:$/m, `${RAFT_COMMENT}raft:`)
    .replace(/^bootstrap:$/m, `${BOOTSTRAP_COMMENT}bootstrap:`)
    .replace(/^ {2}dcs:$/m, `${DCS_COMMENT}  dcs:`);
}

const BOOTSTRAP_COMMENT = "# Used once, when the cluster is created; later changes here do nothing.\n";
const RAFT_COMMENT = "# The built-in store. partner_addrs names the self_addr of every other member; the password is the same on all.\n";
const DCS_COMMENT = `  # The first dynamic configuration: it goes into the store, and is the same for all nodes.
  # Change it later with \`ctl edit-config\`.
`;

/** Everything but the store. */
export function sampleTree(machine: Machine): Tree {
  return {
    scope: FIXME,
    name: machine.hostname,
    log: { type: "plain", level: "INFO" },
    restapi: { listen: `${machine.address}:8008`, connect_address: `${machine.address}:8008` },
    bootstrap: {
      dcs: {
        ttl: 30,
        loop_wait: 10,
        retry_timeout: 10,
        maximum_lag_on_failover: 1_048_576,
        postgresql: {
          use_pg_rewind: true,
          use_slots: true,
          parameters: { max_connections: 100, max_wal_senders: 10, max_replication_slots: 10, wal_level: "replica", wal_log_hints: "on" },
        },
      },
      initdb: ["data-checksums", { encoding: "UTF8" }],
    },
    postgresql: {
      listen: `${machine.address}:5432`,
      connect_address: `${machine.address}:5432`,
      data_dir: FIXME,
      bin_dir: "",
      authentication: {
        superuser: { username: "postgres", password: FIXME },
        replication: { username: "replicator", password: FIXME },
        rewind: { username: "rewind_user", password: FIXME },
      },
      parameters: { password_encryption: "scram-sha-256" },
      pg_hba: ["host all all all scram-sha-256", "host replication replicator all scram-sha-256"],
    },
    tags: { nofailover: false, noloadbalance: false, clonefrom: false, nosync: false },
  };
}
