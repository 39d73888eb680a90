// Owns two clusters for a test, the second a standby of the first: how they are founded, and what it means that the second follows.
// Knows the product by its command line and API only.

import { join } from "node:path";
import { type ClusterOptions, TestCluster } from "./cluster.ts";
import { type ClusterNode, merged, type Tree } from "./cluster-node.ts";
import { until } from "./wait.ts";

const CTL = join(import.meta.dir, "../../scripts/ctl.ts");
/** Two clusters are founded, one after the other, on a machine that may be busy. */
const WITHIN_MS = 40_000;

export class StandbySite {
  readonly main: TestCluster;
  readonly site: TestCluster;
  /** The primary of the first cluster, its only node. */
  readonly source: ClusterNode;
  #rows = 0;

  private constructor(main: TestCluster, site: TestCluster, source: ClusterNode) {
    this.main = main;
    this.site = site;
    this.source = source;
  }

  /** Both shared: TestCluster.stopAll in afterAll ends them. `standbyCluster` is laid over host, port and slot of the first, which `main` is for. */
  static async shared(
    options: ClusterOptions & {
      readonly nodes: readonly string[];
      readonly standbyCluster?: Tree;
      readonly main?: Pick<ClusterOptions, "extra">;
    },
  ): Promise<StandbySite> {
    const { standbyCluster, main: more, ...rest } = options;
    const slots = { site: { type: "physical" } };
    const main = await TestCluster.shared({ ...more, nodes: ["m1"], scope: "main", dynamic: { loop_wait: 1, slots } });
    const source = await main.untilHealthy();
    const hasSlot = async () => (await main.sql(source, "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'site'")).length === 1;
    await until("the slot of the site", hasSlot, { withinMs: WITHIN_MS });
    await main.sql(source, "CREATE TABLE t (n int)");
    const remote = { host: "127.0.0.1", port: source.place.postgresPort, primary_slot_name: "site", ...standbyCluster };
    const dynamic = merged({ loop_wait: 1, standby_cluster: remote }, options.dynamic ?? {});
    return new StandbySite(main, await TestCluster.shared({ ...rest, scope: "site", dynamic }), source);
  }

  /** When `body` fails, the ends of all logs are printed. */
  during<T>(body: () => Promise<T>): Promise<T> {
    return this.site.during(() => this.main.during(body));
  }

  /** Waits until one of `nodes` leads the site as a standby and all of them stream on one timeline; resolves to the leader. */
  async untilStandbys(nodes: readonly ClusterNode[] = this.site.nodes): Promise<ClusterNode> {
    return until(
      "the site streams",
      async () => {
        const codes = await Promise.all(nodes.map((node) => node.health("/standby-leader")));
        const [leader, ...more] = nodes.filter((_, index) => codes[index] === 200);
        if (leader === undefined || more.length > 0) throw new Error(`GET /standby-leader: ${codes.join(", ")}`);
        const { members } = await this.site.list([leader]);
        const told = members.map(({ name, role, state, timeline }) => `${name} ${role} ${state} ${timeline}`).join(", ");
        const wanted = nodes.map(({ name }) => `${name} ${name === leader.name ? "standby_leader" : "replica"} streaming`);
        const timelines = new Set(members.filter(({ state }) => state === "streaming").map(({ timeline }) => timeline));
        if (!wanted.every((row) => told.includes(row)) || timelines.size > 1) throw new Error(told);
        return leader;
      },
      { withinMs: WITHIN_MS, everyMs: 100 },
    );
  }

  /** What the first cluster writes now reaches these nodes of the site. */
  async untilCopied(nodes: readonly ClusterNode[] = this.site.nodes): Promise<void> {
    this.#rows += 1;
    const row = this.#rows;
    await this.main.sql(this.source, `INSERT INTO t VALUES (${row})`);
    for (const node of nodes) {
      const has = async () => (await this.site.sql<{ n: number }>(node, "SELECT max(n) AS n FROM t"))[0]?.n === row;
      await until(`row ${row} on ${node.name}`, has, { withinMs: WITHIN_MS, everyMs: 50 });
    }
  }

  async setting(node: ClusterNode, name: string): Promise<string> {
    return (await this.site.sql<{ v: string }>(node, `SELECT current_setting('${name}') AS v`))[0]?.v ?? "";
  }

  /** ctl on the second cluster; `text` is all that it says. */
  ctl(...words: readonly string[]): Promise<{ readonly status: number; readonly text: string }> {
    return this.ctlOf(this.site, words);
  }

  async ctlOf(cluster: TestCluster, words: readonly string[]): Promise<{ readonly status: number; readonly text: string }> {
    const child = Bun.spawn([process.execPath, "run", CTL, "-c", cluster.node(0).configPath, ...words], {
      cwd: "/",
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, complaints] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return { status: await child.exited, text: out + complaints };
  }
}
