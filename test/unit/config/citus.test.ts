// What a citus section makes of the configuration.

import { describe, expect, test } from "bun:test";
import { effectiveConfig } from "../../../lib/config/effective.ts";
import { mergeTrees, type Tree } from "../../../lib/config/tree.ts";
import { BASE, mustLoad } from "./fixtures.ts";

async function effective(local: Tree, dynamic: Tree = {}) {
  const loaded = await mustLoad(mergeTrees(BASE, mergeTrees({ citus: { group: 0, database: "app" } }, local)));
  return effectiveConfig(loaded, dynamic).node;
}

describe("a node of a Citus cluster", () => {
  test("preloads citus first, writes logical WAL, and leaves room for prepared transactions", async () => {
    const { postgresql } = await effective({}, { postgresql: { parameters: { max_connections: 150, wal_level: "replica" } } });
    expect(postgresql.parameters["shared_preload_libraries"]).toBe("citus");
    expect(postgresql.controlledParameters).toMatchObject({ wal_level: "logical", max_prepared_transactions: "300" });
    expect(postgresql.citus).toEqual({ group: 0, database: "app" });
  });

  test("keeps what the configuration says of other libraries and of prepared transactions", async () => {
    const parameters = { Shared_Preload_Libraries: " auto_explain, citus,pg_stat_statements" };
    const local = { postgresql: { parameters, parameters_replica: { shared_preload_libraries: "pg_prewarm" } } };
    const { postgresql } = await effective(local, { postgresql: { parameters: { max_prepared_transactions: 7 } } });
    expect(postgresql.parameters).toMatchObject({ shared_preload_libraries: "citus,auto_explain,pg_stat_statements" });
    expect(
      Object.keys(postgresql.parameters)
        .map((name) => name.toLowerCase())
        .filter((name) => name.startsWith("shared")),
    ).toHaveLength(1);
    expect(postgresql.parametersReplica).toEqual({ shared_preload_libraries: "citus,pg_prewarm" });
    expect(postgresql.controlledParameters["max_prepared_transactions"]).toBe("7");
  });

  test("tells Citus the way to its own server: where it listens, or the socket where that is used", async () => {
    const hostOf = async (postgresql: Tree) => (await effective({ postgresql })).postgresql.parameters["citus.local_hostname"];
    expect(await hostOf({ listen: "10.0.0.1:5432" })).toBe("10.0.0.1");
    expect(await hostOf({ listen: "0.0.0.0:5432", connect_address: "10.0.0.1:5432" })).toBe("localhost");
    expect(await hostOf({ use_unix_socket: true, parameters: { unix_socket_directories: "., /run/pg" } })).toBe("/run/pg");
  });

  test("is founded with quorum commit unless the file says otherwise", async () => {
    expect((await effective({})).bootstrap.dcs).toEqual(expect.objectContaining({ synchronous_mode: "quorum" }));
    expect((await effective({ bootstrap: { dcs: { synchronous_mode: false } } })).bootstrap.dcs["synchronous_mode"]).toBe(false);
    const plain = effectiveConfig(await mustLoad(BASE), null).node;
    expect(plain.bootstrap.dcs["synchronous_mode"]).toBeUndefined();
    expect(plain.postgresql.parameters["shared_preload_libraries"]).toBeUndefined();
  });
});
