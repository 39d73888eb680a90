// The address of the primary's host against a fake of the kernel's interface: real lock, lease and hand-over.

import { describe, expect, test } from "bun:test";
import { ok } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import { handOver } from "../../../lib/runtime/hand-over.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { releaseLock, renewLock } from "../../../lib/runtime/perform-lock.ts";
import { stop } from "../../../lib/runtime/stop.ts";
import { presence } from "../../../lib/runtime/vip/interface-address.ts";
import { Vip } from "../../../lib/runtime/vip/vip.ts";
import { loopbackAddress } from "../../harness/loopback.ts";
import { CONFIG, primaryStatus, status } from "../core/observations.ts";
import { Interface, VIP } from "./fake-interface.ts";
import { Bench } from "./fenced-node.ts";

/** A primary that holds the lock, and its interface. */
async function primary(): Promise<{ readonly bench: Bench; readonly node: NodeContext; readonly eth0: Interface; readonly vip: Vip }> {
  const bench = new Bench();
  const node = await bench.leader();
  node.state.settings = { ...node.state.settings, node: { ...node.state.settings.node, vip: VIP } };
  const eth0 = new Interface(bench.clock);
  const vip = new Vip(node, eth0.run, () => eth0.presence);
  node.state.vip = vip;
  return { bench, node, eth0, vip };
}

/** As after a cycle. */
async function noted(bench: Bench, vip: Vip): Promise<void> {
  vip.note();
  await bench.clock.advance(0);
}

async function leaderKey(bench: Bench): Promise<string | null> {
  const reader = await bench.node("replica", "reader");
  await refreshCluster(reader);
  return reader.state.cluster?.leader?.name ?? null;
}

function leaseEnd(node: NodeContext): number {
  return node.state.heldFacts()?.leaseEndsAt ?? Number.NaN;
}

describe("the address is on the host", () => {
  test("of a primary with a lease, for less than the lease, and longer with each renewal", async () => {
    const { bench, node, eth0, vip } = await primary();
    await noted(bench, vip);
    expect(eth0.commands[0]).toMatch(/^sudo -n ip address replace 10\.0\.0\.100\/24 dev eth0 valid_lft (\d+) preferred_lft \1$/);
    expect(eth0.commands[1]).toBe("arping -q -c 3 -U -I eth0 10.0.0.100");
    const first = eth0.until;
    // Two seconds for what the command and the kernel may be late.
    expect(first).toBeLessThanOrEqual(leaseEnd(node) - 2000);
    expect(first).toBeGreaterThan(leaseEnd(node) - 3001);
    await noted(bench, vip);
    expect(eth0.commands).toHaveLength(2);
    await bench.clock.advance(CONFIG.ttlMs / 2);
    expect((await renewLock(node)).ok).toBe(true);
    await noted(bench, vip);
    expect(eth0.until).toBe(first + CONFIG.ttlMs / 2);
    // Who has it already announces nothing.
    expect(eth0.commands.filter((command) => command.startsWith("arping"))).toHaveLength(1);
  });

  test("of IPv6: of use at once, no source for what this host begins, and announced to all hosts of the link", async () => {
    const { bench, node, eth0, vip } = await primary();
    const ipv6 = { ...VIP, address: "fd00::100", prefixLength: 64, ndptoolCommand: "sudo -n ndptool" };
    node.state.settings = { ...node.state.settings, node: { ...node.state.settings.node, vip: ipv6 } };
    await noted(bench, vip);
    expect(eth0.commands[0]).toMatch(/^sudo -n ip address replace fd00::100\/64 dev eth0 valid_lft \d+ preferred_lft 0 nodad$/);
    expect(eth0.until).toBeLessThanOrEqual(leaseEnd(node) - 2000);
    await bench.clock.advance(5000);
    const announced = "sudo -n ndptool -t na -U -i eth0 -T fd00::100 send";
    expect(eth0.commands.slice(1)).toEqual([announced, announced, announced]);
    await vip.release();
    expect(eth0.commands.at(-1)).toBe("sudo -n ip address del fd00::100/64 dev eth0");
    expect(eth0.has).toBe(false);
  });

  test("and is gone before the lease when nobody renews it", async () => {
    const { bench, node, eth0, vip } = await primary();
    await noted(bench, vip);
    const end = leaseEnd(node);
    await bench.clock.advance(end - 2000 - bench.clock.now());
    expect(eth0.has).toBe(false);
  });

  test("neither of a standby, nor of a primary without a lease, nor where nothing is configured", async () => {
    const { bench, node, eth0, vip } = await primary();
    node.state.local.status = status();
    await noted(bench, vip);
    node.state.local.lastRole = "replica";
    await noted(bench, vip);
    Object.assign(node.state.local, { status: primaryStatus(), lastRole: "primary" });
    const { held } = node.state;
    node.state.held = null;
    await noted(bench, vip);
    node.state.held = held;
    node.state.settings = { ...node.state.settings, node: { ...node.state.settings.node, vip: null } };
    await noted(bench, vip);
    expect(eth0.commands).toEqual([]);
  });

  test("of a primary that restarts, but not once it is being stopped", async () => {
    const { bench, node, eth0, vip } = await primary();
    await noted(bench, vip);
    const task = { startedAt: ms(0), aborting: false, controller: new AbortController(), settled: Promise.resolve() };
    node.state.local.status = null;
    node.state.task = { ...task, kind: "restart" };
    await noted(bench, vip);
    expect(eth0.has).toBe(true);
    node.state.task = { ...task, kind: "stop" };
    await noted(bench, vip);
    expect(eth0.has).toBe(false);
  });

  test("not where ttl is too short for lifetimes in seconds", async () => {
    const { bench, node, eth0, vip } = await primary();
    node.state.settings = { ...node.state.settings, dynamic: { ...CONFIG, ttlMs: ms(7000), leaseTtlMs: ms(7000) } };
    await noted(bench, vip);
    expect(eth0.commands).toEqual([]);
  });

  test("no longer, where it was left behind or somebody else put it on a replica's", async () => {
    const { bench, node, eth0, vip } = await primary();
    node.state.held = null;
    eth0.put(10_000);
    await noted(bench, vip);
    expect(eth0.has).toBe(false);
  });

  test("no longer under its former name, once the configuration names another", async () => {
    const { bench, node, eth0, vip } = await primary();
    await noted(bench, vip);
    node.state.settings = { ...node.state.settings, node: { ...node.state.settings.node, vip: { ...VIP, address: "10.0.0.101" } } };
    await noted(bench, vip);
    await noted(bench, vip);
    const ip = eth0.commands.filter((command) => command.startsWith("sudo")).map((command) => command.split(" ").slice(4, 6).join(" "));
    expect(ip).toEqual(["replace 10.0.0.100/24", "del 10.0.0.100/24", "replace 10.0.0.101/24"]);
  });
});

describe("it is taken off", () => {
  test("before PostgreSQL stops and before the lock is released, in a hand-over", async () => {
    const { bench, node, eth0, vip } = await primary();
    await noted(bench, vip);
    const seen: unknown[] = [];
    node.postgres.stop = async ({ beforeShutdown }) => {
      await beforeShutdown?.();
      seen.push(["stop", eth0.has, await leaderKey(bench)]);
      return ok(null);
    };
    const handed = handOver(node, ms(bench.clock.now() + 10_000), new AbortController().signal);
    await bench.clock.advance(0);
    expect(await handed).toMatchObject({ ok: true });
    expect(seen).toEqual([["stop", false, "a"]]);
    expect(await leaderKey(bench)).toBeNull();
  });

  test("not while a hand-over prepares the stop, which may take longer than a lifetime; and does not come back during it", async () => {
    const { bench, node, eth0, vip } = await primary();
    await noted(bench, vip);
    node.state.local.status = null;
    node.state.task = {
      kind: "hand-over",
      startedAt: ms(0),
      aborting: false,
      controller: new AbortController(),
      settled: Promise.resolve(),
    };
    await noted(bench, vip);
    await bench.clock.advance(CONFIG.ttlMs / 2);
    expect((await renewLock(node)).ok).toBe(true);
    await noted(bench, vip);
    await bench.clock.advance(CONFIG.ttlMs / 2);
    expect(eth0.has).toBe(true);
    const released = vip.release();
    await bench.clock.advance(0);
    await released;
    node.state.local.status = primaryStatus();
    await noted(bench, vip);
    expect(eth0.has).toBe(false);
    // The stop failed: it is a primary with a lease again.
    node.state.task = null;
    await noted(bench, vip);
    expect(eth0.has).toBe(true);
  });

  test("where ip(8) cannot take it off, PostgreSQL is stopped all the same, and the lock stays until its lifetime is over", async () => {
    for (const answer of ["refused", "never"] as const) {
      const { bench, node, eth0, vip } = await primary();
      await noted(bench, vip);
      eth0.answer = answer;
      let stoppedAt = Number.NaN;
      node.postgres.stop = async ({ beforeShutdown }) => {
        await beforeShutdown?.();
        stoppedAt = bench.clock.now();
        return ok(null);
      };
      const handed = handOver(node, ms(bench.clock.now() + 10_000), new AbortController().signal);
      await bench.clock.advance(5000);
      expect(stoppedAt).toBe(2000);
      expect([eth0.has, node.state.held === null]).toEqual([true, false]);
      await bench.clock.advance(CONFIG.ttlMs);
      await handed;
      expect([eth0.has, node.state.held]).toEqual([false, null]);
    }
  });

  test("beside a stop at once, which does not wait for it", async () => {
    const { bench, node, eth0, vip } = await primary();
    await noted(bench, vip);
    eth0.answer = "never";
    let stoppedAt = Number.NaN;
    node.postgres.stop = async () => {
      stoppedAt = bench.clock.now();
      return ok(null);
    };
    const stopping = stop(node, "immediate", bench.clock.now());
    await bench.clock.advance(0);
    expect(await stopping).toMatchObject({ ok: true });
    expect(stoppedAt).toBe(0);
    expect(eth0.commands.at(-1)).toContain("address del");
  });

  test("whoever releases the lock", async () => {
    const { bench, node, eth0, vip } = await primary();
    await noted(bench, vip);
    const released = releaseLock(node, null);
    await bench.clock.advance(0);
    expect(await released).toMatchObject({ ok: true });
    expect(eth0.has).toBe(false);
  });

  test("and its announcement ends first", async () => {
    const { bench, eth0, vip } = await primary();
    await noted(bench, vip);
    // The arping is still at work: its two seconds are not over.
    const released = vip.release();
    await bench.clock.advance(0);
    await released;
    expect([bench.clock.now() < 2000, eth0.has]).toEqual([true, false]);
  });

  test("at once where putting it there took so long that its lifetime could end after the lease", async () => {
    const { bench, eth0, vip, node } = await primary();
    const run = eth0.run;
    const slow = new Vip(
      node,
      async (request) => {
        if (request.argv.includes("replace")) await bench.clock.sleepUntil(ms(bench.clock.now() + 1500));
        return run(request);
      },
      () => eth0.presence,
    );
    slow.note();
    await bench.clock.advance(1500);
    expect(eth0.commands.map((command) => command.split(" ")[4])).toEqual(["replace", "del"]);
    expect(eth0.has).toBe(false);
    await vip.close();
  });
});

test("with another prefix it is not ours: it is left there, told of once, and no command runs", async () => {
  const { bench, node, eth0, vip } = await primary();
  node.state.held = null;
  eth0.otherPrefix = true;
  await noted(bench, vip);
  await noted(bench, vip);
  const log = node.log as unknown as { readonly lines: readonly string[] };
  expect(log.lines.filter((line) => line.includes("with another prefix"))).toHaveLength(1);
  expect(eth0.commands).toEqual([]);
});

test("an address counts as there with its own prefix alone", () => {
  const vip = { ...VIP, ...loopbackAddress() };
  expect(presence(vip)).toBe("here");
  expect(presence({ ...vip, prefixLength: vip.prefixLength - 1 })).toBe("other-prefix");
  expect(presence({ ...vip, address: "192.0.2.199" })).toBe("absent");
});

test("a command that takes nothing off is run once in a cycle, not without end", async () => {
  const { bench, node, eth0 } = await primary();
  node.state.held = null;
  // An end, or a fault would be a loop that no time limit ends.
  const vip = new Vip(node, eth0.run, () => (eth0.commands.length < 10 ? "here" : "absent"));
  await noted(bench, vip);
  expect(eth0.commands).toHaveLength(1);
  await noted(bench, vip);
  expect(eth0.commands).toHaveLength(2);
});

test("the lock is released at once where it was never put there, since ip(8) refuses or is not installed", async () => {
  for (const answer of ["refused", "missing"] as const) {
    const { bench, node, eth0, vip } = await primary();
    eth0.answer = answer;
    await noted(bench, vip);
    await noted(bench, vip);
    const released = releaseLock(node, null);
    await bench.clock.advance(0);
    expect(node.state.held).toBeNull();
    expect(await released).toMatchObject({ ok: true });
  }
});

test("but not where it may be there: a run did not end, or a former process's is still there", async () => {
  for (const case_ of ["never", "former"] as const) {
    const { bench, node, eth0, vip } = await primary();
    if (case_ === "former") eth0.put(20);
    eth0.answer = case_ === "former" ? "refused" : "never";
    vip.note();
    await bench.clock.advance(1000);
    eth0.answer = "refused";
    await noted(bench, vip);
    const end = leaseEnd(node);
    const released = releaseLock(node, null);
    await bench.clock.advance(end - 1 - bench.clock.now());
    expect(node.state.held).not.toBeNull();
    await bench.clock.advance(1);
    await released;
    expect([node.state.held, eth0.has]).toEqual([null, false]);
  }
});

test("what cannot be put there is tried again with the next cycle, and told once", async () => {
  const { bench, node, eth0, vip } = await primary();
  eth0.answer = "refused";
  await noted(bench, vip);
  await noted(bench, vip);
  const log = node.log as unknown as { readonly lines: readonly string[] };
  expect(log.lines.filter((line) => line.includes("was not put"))).toHaveLength(1);
  eth0.answer = "done";
  await noted(bench, vip);
  expect(eth0.has).toBe(true);
});

test("where it is can be seen: at once what this node did, within a second what others did, and the same value as long as it is the same", async () => {
  const { bench, node, eth0, vip } = await primary();
  const standing = vip.standing();
  expect(standing).toEqual({ address: "10.0.0.100/24", interface: "eth0", here: false });
  expect(vip.standing()).toBe(standing);
  await noted(bench, vip);
  expect(vip.standing()?.here).toBe(true);
  await eth0.run({ argv: ["ip", "address", "del"], withoutSecrets: true, deadline: ms(0) });
  await bench.clock.advance(1000);
  expect(vip.standing()?.here).toBe(false);
  node.state.settings = { ...node.state.settings, node: { ...node.state.settings.node, vip: null } };
  expect(vip.standing()).toBeNull();
});
