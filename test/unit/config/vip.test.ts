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

  test("is an IPv6 address as well, however it is written, with the program that announces it", async () => {
    const vip = { address: "FD00:0:0::0100/64", interface: "eth0", ndptool_command: "sudo -n ndptool" };
    expect((await mustLoad({ ...BASE, vip })).config.vip).toEqual({
      address: "fd00::100",
      prefixLength: 64,
      interface: "eth0",
      ipCommand: "ip",
      arpingCommand: "arping",
      ndptoolCommand: "sudo -n ndptool",
    });
    expect((await mustLoad({ ...BASE, vip: { address: "2001:db8::1/128", interface: "eth0" } })).config.vip).toMatchObject({
      address: "2001:db8::1",
      prefixLength: 128,
      ndptoolCommand: "ndptool",
    });
  });

  test("an address that no host has, or that nobody reaches from another one, is a fault", async () => {
    const nobodys = ["fe80::1%eth0/64", "::1/128", "::ffff:10.0.0.1/96", "ff02::1/64", "2001:db8::1/0", "2001:db8::1/129", "224.0.0.1/24"];
    for (const address of nobodys)
      expect([address, await faults({ address, interface: "eth0" })]).toEqual([
        address,
        [expect.stringMatching(/^vip\.address: .* is not an IPv4 or IPv6 address with the length of its prefix/)],
      ]);
    expect(await faults({ address: "10.0.0.0/24", interface: "eth0" })).toEqual([
      "vip.address: 10.0.0.0 is the first address of its network /24",
    ]);
    expect(await faults({ address: "10.0.3.255/22", interface: "eth0" })).toEqual([
      "vip.address: 10.0.3.255 is the broadcast address of its network /22",
    ]);
    for (const address of ["10.0.0.0/31", "10.0.0.255/32", "10.0.0.255/23", "2001:db8::/64"])
      expect([address, await faults({ address, interface: "eth0" })]).toEqual([address, []]);
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
    const postgresql = { ...(BASE["postgresql"] as object), connect_address: "[2001:DB8:0::5]:5432" };
    const loaded = await loadTree({ ...BASE, postgresql, vip: { address: "2001:db8::5/64", interface: "eth0" } } as never);
    expect(loaded.ok ? [] : loaded.error.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^2001:db8::5 is postgresql\.connect_address too, /),
    ]);
  });
});
