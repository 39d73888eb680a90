// Owns pgBackRest's TLS servers of a test cluster, one for each node: by them a standby's backup reaches the primary.

import { type ChildProcess, spawn } from "node:child_process";
import { createConnection } from "node:net";
import { serverUser } from "../../lib/cli/quickstart/folder.ts";
import { type Authority, copyFor, makeAuthority } from "./certificates.ts";
import type { ClusterNode } from "./cluster-node.ts";
import type { TestRepository } from "./pgbackrest.ts";
import { serverPorts } from "./ports.ts";
import { until } from "./wait.ts";

const LISTENS_WITHIN_MS = 60_000;

interface Place {
  readonly node: ClusterNode;
  readonly port: number;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
}

export class BackupServers {
  readonly #authority: Authority;
  readonly #places: readonly Place[];
  #servers: readonly ChildProcess[] = [];

  private constructor(authority: Authority, places: readonly Place[]) {
    this.#authority = authority;
    this.#places = places;
  }

  /** Equips the nodes, which must not run yet, and starts their servers. */
  static async start(repository: TestRepository, nodes: readonly ClusterNode[]): Promise<BackupServers> {
    const authority = makeAuthority();
    const ports = await serverPorts(nodes.length);
    const places = nodes.map((node, index): Place => {
      const { cert, key } = authority.issue(node.name);
      return {
        node,
        port: ports[index] ?? 0,
        tls: { ca: copyFor(node, authority.ca), cert: copyFor(node, cert), key: copyFor(node, key) },
      };
    });
    const servers = new BackupServers(authority, places);
    const { uid, gid } = serverUser();
    for (const place of places) repository.equip(place.node, servers.#options(place, repository));
    servers.#servers = places.map(({ node }) =>
      spawn(repository.program, [`--config=${repository.configOf(node)}`, "server"], {
        cwd: "/",
        stdio: "ignore",
        ...(uid === null || gid === null ? {} : { uid, gid }),
      }),
    );
    for (const { node, port } of places)
      await until(`pgBackRest's server of ${node.name} listens`, () => listens(port), { withinMs: LISTENS_WITHIN_MS });
    return servers;
  }

  stop(): void {
    for (const server of this.#servers) server.kill("SIGKILL");
    this.#authority.remove();
  }

  /** Of a node's file: its own server, and each other node as pg2, pg3 … */
  #options(
    { node, port, tls }: Place,
    repository: TestRepository,
  ): { readonly global: readonly string[]; readonly stanza: readonly string[] } {
    const global = [
      "tls-server-address=127.0.0.1",
      `tls-server-port=${port}`,
      `tls-server-ca-file=${tls.ca}`,
      `tls-server-cert-file=${tls.cert}`,
      `tls-server-key-file=${tls.key}`,
      ...this.#places.map((place) => `tls-server-auth=${place.node.name}=${repository.stanza}`),
    ];
    const others = this.#places.filter((place) => place.node !== node);
    const stanza = others.flatMap((other, index) => {
      const pg = `pg${index + 2}`;
      return [
        // A name: pgBackRest looks for no addresses in a certificate.
        `${pg}-host=localhost`,
        `${pg}-host-type=tls`,
        `${pg}-host-port=${other.port}`,
        `${pg}-host-ca-file=${tls.ca}`,
        `${pg}-host-cert-file=${tls.cert}`,
        `${pg}-host-key-file=${tls.key}`,
        `${pg}-host-config=${repository.configOf(other.node)}`,
        `${pg}-path=${other.node.dataDir}`,
        `${pg}-port=${other.node.place.postgresPort}`,
        `${pg}-socket-path=${other.node.place.folder}`,
        `${pg}-user=postgres`,
      ];
    });
    return { global, stanza };
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
