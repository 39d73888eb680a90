// Goal: with TLS and verify_client required, members talk to each other, operators with a certificate and a password are served,
// and nobody else is. Method: three nodes with certificates of one authority; requests with and without a client certificate.

import { afterAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { copyFor, makeAuthority } from "../harness/certificates.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const AUTHENTICATION = { username: "operator", password: "herd" };

test("three nodes with verify_client required: switchover works between them, strangers are refused", async () => {
  const authority = makeAuthority();
  const issued = { node: authority.issue("node"), client: authority.issue("client") };
  const cluster = await TestCluster.start({ start: false });
  try {
    await cluster.during(async () => {
      for (const node of cluster.nodes) {
        const here = (file: string): string => copyFor(node, file);
        node.editConfig((config) => {
          const restapi = config["restapi"] as Tree;
          Object.assign(restapi, {
            certfile: here(issued.node.cert),
            keyfile: here(issued.node.key),
            cafile: here(authority.ca),
            verify_client: "required",
            authentication: AUTHENTICATION,
          });
          config["ctl"] = {
            cacert: here(authority.ca),
            certfile: here(issued.client.cert),
            keyfile: here(issued.client.key),
            authentication: AUTHENTICATION,
          };
        });
        node.start();
      }
      const tls = {
        ca: readFileSync(authority.ca, "utf8"),
        cert: readFileSync(issued.client.cert, "utf8"),
        key: readFileSync(issued.client.key, "utf8"),
      };
      const ask = (node: ClusterNode, path: string, init: RequestInit = {}): Promise<Response> =>
        fetch(`https://${node.place.host}:${node.place.apiPort}${path}`, {
          ...init,
          tls,
          keepalive: false,
          signal: AbortSignal.timeout(20_000),
        });
      const leads = async (node: ClusterNode): Promise<boolean> =>
        ask(node, "/primary").then(
          ({ status }) => status === 200,
          () => false,
        );
      const leader = await until("one leads", async () => (await findAsync(cluster.nodes, leads)) ?? null, { withinMs: 60_000 });
      const streaming = async (): Promise<boolean> => {
        const { members } = (await (await ask(leader, "/cluster")).json()) as { members: { state: string; api_url: string }[] };
        return (
          members.filter(({ state }) => state === "streaming").length === 2 &&
          members.every(({ api_url }) => api_url.startsWith("https://"))
        );
      };
      await until("two replicas stream, under https urls", streaming, { withinMs: 60_000 });

      const stranger = fetch(`https://${leader.place.host}:${leader.place.apiPort}/primary`, {
        tls: { ca: tls.ca },
        keepalive: false,
      }).then(
        () => "answered",
        () => "refused",
      );
      expect(await stranger).toBe("refused");

      const [candidate] = cluster.others(leader);
      const body = JSON.stringify({ leader: leader.name, candidate: candidate?.name });
      expect((await ask(candidate as ClusterNode, "/switchover", { method: "POST", body })).status).toBe(401);
      const headers = { authorization: `Basic ${btoa(`${AUTHENTICATION.username}:${AUTHENTICATION.password}`)}` };
      const switched = await ask(candidate as ClusterNode, "/switchover", { method: "POST", body, headers });
      expect({ status: switched.status, text: await switched.text() }).toEqual({
        status: 200,
        text: `Successfully switched over to "${candidate?.name}"`,
      });
      expect(await leads(candidate as ClusterNode)).toBe(true);
    });
  } finally {
    await cluster.stop();
    authority.remove();
  }
}, 120_000);

async function findAsync<T>(items: readonly T[], predicate: (item: T) => Promise<boolean>): Promise<T | undefined> {
  const found = await Promise.all(items.map(predicate));
  return items.find((_, index) => found[index] === true);
}
