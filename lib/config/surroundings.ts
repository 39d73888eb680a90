// Owns comparing a checked configuration with the machine: files that must be there, programs, ports. For --validate-config
// only; a start meets the same faults where they matter. Changes nothing; a tried port is closed at once.

import { access, constants, readdir, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import type { ConfigFault } from "../model/errors.ts";
import { isLoopback } from "../model/host-port.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { systemMessage } from "./files.ts";

export interface Surroundings {
  readonly faults: readonly ConfigFault[];
  /** True on this machine at this moment; no reason to refuse the configuration. */
  readonly notes: readonly ConfigFault[];
}

export async function surroundings(config: NodeConfig, options: { readonly listenPorts: "try" | "ignore" }): Promise<Surroundings> {
  const faults = [...(await missingFiles(config)), ...(await dataDirectoryFaults(config.postgresql.dataDir))];
  const notes = [...(await missingPrograms(config)), ...loopbackNotes(config)];
  if (options.listenPorts === "try") notes.push(...(await takenPorts(config)));
  return { faults, notes };
}

async function missingFiles(config: NodeConfig): Promise<readonly ConfigFault[]> {
  const named: readonly (readonly [string, string | null | undefined])[] = [
    ["restapi.certfile", config.restapi.certfile],
    ["restapi.keyfile", config.restapi.keyfile],
    ["restapi.cafile", config.restapi.cafile],
    ["ctl.cacert", config.ctl.cacert],
    ["ctl.certfile", config.ctl.certfile],
    ["ctl.keyfile", config.ctl.keyfile],
    ["consul.cacert", config.consul?.cacert],
    ["consul.cert", config.consul?.cert],
    ["consul.key", config.consul?.key],
    ["discovery.consul.cacert", config.discovery?.consul.cacert],
    ["discovery.consul.cert", config.discovery?.consul.cert],
    ["discovery.consul.key", config.discovery?.consul.key],
    ["raft.cafile", config.raft?.cafile],
    ["raft.certfile", config.raft?.certfile],
    ["raft.keyfile", config.raft?.keyfile],
    ["postgresql.custom_conf", config.postgresql.customConf],
  ];
  const faults: ConfigFault[] = [];
  for (const [path, file] of named) {
    if (file === null || file === undefined) continue;
    try {
      await access(file, constants.R_OK);
    } catch (error) {
      faults.push({ path, message: `${file} cannot be read: ${systemMessage(error)}` });
    }
  }
  return faults;
}

/** Absent and empty are fine; anything else must be PostgreSQL's. */
async function dataDirectoryFaults(dataDir: string): Promise<readonly ConfigFault[]> {
  const path = "postgresql.data_dir";
  try {
    const names = await readdir(dataDir);
    if (names.length === 0 || names.includes("PG_VERSION")) return [];
    return [{ path, message: `${dataDir} is not empty and not PostgreSQL's; write data_dir: with an empty directory` }];
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    return code === "ENOENT" ? [] : [{ path, message: `${dataDir} cannot be read: ${systemMessage(error)}` }];
  }
}

async function missingPrograms(config: NodeConfig): Promise<readonly ConfigFault[]> {
  const { binDir, binName } = config.postgresql;
  const missing: string[] = [];
  for (const program of ["postgres", "pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "pg_rewind"]) {
    const name = binName[program] ?? program;
    const found = binDir === "" ? Bun.which(name) !== null : await isFile(join(binDir, name));
    if (!found) missing.push(name);
  }
  if (missing.length === 0) return [];
  const where = binDir === "" ? "in PATH; write bin_dir: /usr/lib/postgresql/VERSION/bin" : `in ${binDir}`;
  return [{ path: "postgresql.bin_dir", message: `there is no ${missing.join(", ")} ${where}` }];
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    // Whatever the reason, the program cannot be run from there.
    return false;
  }
}

function loopbackNotes(config: NodeConfig): readonly ConfigFault[] {
  const addresses = [
    ["restapi.connect_address", config.restapi.connectAddress],
    ["postgresql.connect_address", config.postgresql.connectAddress],
  ] as const;
  return addresses
    .filter(([, address]) => isLoopback(address.host))
    .map(([path, address]) => ({ path, message: `${address.host} is a loopback address: nodes on other machines cannot reach it` }));
}

async function takenPorts(config: NodeConfig): Promise<readonly ConfigFault[]> {
  const wanted: readonly (readonly [string, string, number])[] = [
    ["restapi.listen", config.restapi.listen.host, config.restapi.listen.port],
    ...config.postgresql.listenHosts.map((host) => ["postgresql.listen", host, config.postgresql.port] as const),
  ];
  const notes: ConfigFault[] = [];
  for (const [path, host, port] of wanted) {
    const refusal = await tryToListen(host === "*" ? "0.0.0.0" : host, port);
    if (refusal !== null) notes.push({ path, message: `cannot listen on ${host}:${port} now: ${refusal}` });
  }
  return notes;
}

function tryToListen(host: string, port: number): Promise<string | null> {
  const words: Readonly<Record<string, string>> = { EADDRINUSE: "the port is taken", EADDRNOTAVAIL: "no interface has this address" };
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => {
      const code = "code" in error ? String(error.code) : "";
      resolve(words[code] ?? systemMessage(error));
    });
    server.listen({ host, port }, () => server.close(() => resolve(null)));
  });
}
