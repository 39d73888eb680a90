import { afterAll, describe, expect, test } from "bun:test";
import { BASE, loadTree, mustLoad, removeFiles } from "./fixtures.ts";

afterAll(removeFiles);

async function faults(vip: Record<string, unknown>): Promise<readonly string[]> {
  const loaded = await loadTree({ ...BASE, vip } as never);
  return loaded.ok ? [] : loaded.error.map(({ path, message }) => `${path}: ${message}`);
}

describe("vip", () => {
  test("is an address with its prefix on an interface, and the commands to move it", async () => {
    expect((await mustLoad({ ...BASE, vip: { address: "10.0.0.100/24", interface: "eth0" } })).config.vip).toEqual({
      address: "10.0.0.100",
      prefixLength: 24,
      interface: "eth0",
      ipCommand: "ip",
      arpingCommand: "arping",
    });
    const vip = { address: "10.0.0.100/32", interface: "bond0.7", ip_command: "sudo -n ip", arping_command: "/opt/arping" };
    expect((await mustLoad({ ...BASE, vip })).config.vip).toMatchObject({
      prefixLength: 32,
      ipCommand: "sudo -n ip",
      arpingCommand: "/opt/arping",
    });
    expect((await mustLoad(BASE)).config.vip).toBeNull();
  });

  test("what is no such address or no interface is a fault", async () => {
    for (const address of ["10.0.0.100", "10.0.0.100/0", "10.0.0.100/33", "10.0.0/24", "fe80::1/64", "10.0.0.100/24/1", "10.0.0.100/x"])
      expect([address, await faults({ address, interface: "eth0" })]).toEqual([
        address,
        [expect.stringMatching(/^vip\.address: .* is not an IPv4/)],
      ]);
    for (const name of ["-h", "eth0 dev eth1", "", "a-name-that-is-too-long"])
      expect([name, await faults({ address: "10.0.0.100/24", interface: name })]).toEqual([
        name,
        [expect.stringMatching(/^vip\.interface: /)],
      ]);
    expect(await faults({})).toEqual([
      "vip.address: missing; write address: 10.0.0.100/24",
      "vip.interface: missing; write interface: eth0",
    ]);
  });

  test("the node's own address is a fault: taking it off would cut the node off", async () => {
    expect(await faults({ address: "127.0.0.1/8", interface: "lo" })).toEqual([
      expect.stringMatching(/^vip\.address: 127\.0\.0\.1 is postgresql\.listen too, /),
      expect.stringMatching(/^vip\.address: 127\.0\.0\.1 is restapi\.listen too, /),
    ]);
  });
});
