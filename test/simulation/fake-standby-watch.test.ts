// Goal: a simulated supervisor hears of its standbys when the real watch would tell it. Method: both beside each other over one simulated
// server, to which random things happen.

import { drainMicrotasks } from "bun:jsc";
import { expect, test } from "bun:test";
import type { PostgresStatus } from "../../lib/model/postgres.ts";
import { ms } from "../../lib/model/units.ts";
import { watchStandbys } from "../../lib/postgres/standby-watch.ts";
import { FakePostgres } from "./fake-postgres.ts";
import { FakeServer } from "./fake-server.ts";
import { withLightAbort } from "./light-abort.ts";
import { plant } from "./plants.ts";
import { Random } from "./random.ts";
import { Servers } from "./servers.ts";
import { EventQueue, MachineClock, SimProcess } from "./virtual-clock.ts";

class Scene {
  readonly queue = new EventQueue();
  readonly random: Random;
  readonly servers: Servers;
  readonly primary: FakeServer;
  readonly standbys: readonly FakeServer[];

  constructor(seed: number) {
    this.random = new Random(seed);
    this.servers = new Servers({
      reuseTimelines: false,
      queue: this.queue,
      random: this.random,
      hooks: {
        reaches: () => true,
        becamePrimary: () => {},
        acknowledged: () => {},
        violation: (text) => {
          throw new Error(text);
        },
        changed: () => {},
        ticked: () => {},
        trace: () => {},
      },
    });
    const [primary, ...standbys] = ["n1", "n2", "n3"].map((name) => {
      const server = new FakeServer(name, this.servers);
      this.servers.all.push(server);
      this.servers.byAddress.set(`${name}:5432`, server);
      return server;
    });
    if (primary === undefined) throw new Error("there is no first server");
    this.primary = primary;
    this.standbys = standbys;
    primary.initdb(this.servers.fork(null, 1, "7"));
    primary.launch({ role: "primary", follow: null, syncNames: "n2" });
    for (const standby of standbys) standby.becomeCopyOf(primary.wal);
    this.runFor(1000);
    for (const standby of standbys) this.start(standby);
    this.runFor(1000);
  }

  start(standby: FakeServer): void {
    if (standby.postmaster !== null) return;
    const follow = { name: "n1", host: "n1", port: 5432, slotName: null };
    standby.launch({ role: "standby", follow, syncNames: null });
  }

  runFor(duration: number): void {
    const end = this.queue.now + duration;
    while (this.queue.nextTime() <= end) {
      this.queue.runNext();
      drainMicrotasks();
    }
    this.queue.now = end;
  }

  /** Anything that may happen, and much that changes nothing. */
  something(): void {
    const { primary, random } = this;
    const standby = random.pick(this.standbys);
    const what = random.pick([
      () => standby.kill(),
      () => this.start(standby),
      () => this.servers.disconnect(standby),
      () => primary.setSyncNames(random.pick(["n2", "n3", "2 (n2,n3)", ""])),
      () => primary.setSyncNames(primary.sync.text),
      () => primary.hang(),
      () => {
        primary.hung = false;
      },
      () => primary.stopFast(null),
      () => this.servers.append(primary, random.whole(100, 20_000), this.queue.now),
      () => {
        for (const link of this.servers.links) link.delay = random.between(1, 5000);
      },
    ]);
    what();
  }
}

/** As nearStandbys of lib/core/sync-standbys.ts, of the connections alone. */
function near(status: PostgresStatus): string {
  const rows = status.replication.filter(({ flushLsn }) => Number((status.walLsn ?? 0n) - (flushLsn ?? 0n)) <= 5000);
  return rows.map(({ applicationName }) => applicationName).join();
}

test("a change is told of at the instant at which a query would show it, one of the standbys' lag too where it counts", () => {
  withLightAbort(() => {
    let told = 0;
    for (let seed = 1; seed <= 300; seed += 1) {
      const scene = new Scene(seed);
      const { queue, random } = scene;
      const process = new SimProcess(queue, new MachineClock(queue, { rate: 1.003, uptime: 5000 }));
      const plants = plant(null);
      if (plants === null) throw new Error("without a name nothing is planted");
      const postgres = new FakePostgres(scene.primary, process, plants);
      let seen: Parameters<FakePostgres["watchStandbys"]>[0] | null = null;
      void postgres.status(ms(process.now() + 1000)).then((status) => {
        seen = status.ok ? status.value : null;
      });
      drainMicrotasks();
      if (seen === null) throw new Error("the server does not answer");
      const heard: { real: number | null; fake: number | null } = { real: null, fake: null };
      watchStandbys({
        clock: process,
        status: (deadline) => postgres.status(deadline),
        seen,
        near: seed % 2 === 0 ? near : null,
        onChange: () => {
          heard.real = process.now();
        },
      });
      postgres.watchStandbys(seen, seed % 2 === 0 ? near : null, () => {
        heard.fake = process.now();
      });
      drainMicrotasks();
      // A server that hangs only for a while may be seen to hang by a query that gives up later: only one that stays so is compared.
      for (let events = random.whole(1, 5); events > 0 && !scene.primary.hung; events -= 1) {
        scene.runFor(random.between(0, 4000));
        if (heard.real === null) scene.something();
      }
      scene.runFor(10_000);
      if (heard.real !== null) told += 1;
      expect({ seed, heard: heard.fake !== null }).toEqual({ seed, heard: heard.real !== null });
      expect(Math.abs((heard.fake ?? 0) - (heard.real ?? 0))).toBeLessThan(1);
    }
    expect(told).toBeGreaterThan(100);
  });
});

test("a watch that was ended tells nothing", () => {
  const scene = new Scene(1);
  const process = new SimProcess(scene.queue, new MachineClock(scene.queue, { rate: 1, uptime: 0 }));
  const plants = plant(null);
  if (plants === null) throw new Error("without a name nothing is planted");
  const postgres = new FakePostgres(scene.primary, process, plants);
  let seen: Parameters<FakePostgres["watchStandbys"]>[0] | null = null;
  void postgres.status(ms(process.now() + 1000)).then((status) => {
    seen = status.ok ? status.value : null;
  });
  drainMicrotasks();
  if (seen === null) throw new Error("the server does not answer");
  let heard = 0;
  const end = postgres.watchStandbys(seen, null, () => {
    heard += 1;
  });
  scene.primary.setSyncNames("n3");
  end();
  scene.runFor(10_000);
  expect(heard).toBe(0);
});
