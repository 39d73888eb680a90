import { afterAll, describe, expect, test } from "bun:test";
import { maskTree } from "../../../lib/config/mask.ts";
import { diffConfig } from "../../../lib/config/reload.ts";
import { EVENT_KINDS } from "../../../lib/model/event.ts";
import { ms } from "../../../lib/model/units.ts";
import { BASE, loadTree, mustLoad, removeFiles } from "./fixtures.ts";

afterAll(removeFiles);

async function faults(hook: Record<string, unknown>): Promise<readonly string[]> {
  const loaded = await loadTree({ ...BASE, hooks: { pager: hook } } as never);
  return loaded.ok ? [] : loaded.error.map(({ path, message }) => `${path}: ${message}`);
}

describe("hooks", () => {
  test("are programs or addresses with their own events, times and tries, in the order of the file", async () => {
    const hooks = {
      pager: { command: "/usr/local/bin/page --team dba", events: ["failover", "fencing"], timeout: 3, retries: 0 },
      chat: { url: "https://chat.example.com/T0K3N", headers: { Authorization: "Bearer T0K3N" } },
    };
    const { config } = await mustLoad({ ...BASE, hooks } as never);
    expect(config.hooks).toEqual([
      {
        name: "pager",
        command: "/usr/local/bin/page --team dba",
        url: null,
        headers: {},
        events: ["failover", "fencing"],
        timeoutMs: ms(3000),
        retries: 0,
      },
      {
        name: "chat",
        command: null,
        url: "https://chat.example.com/T0K3N",
        headers: { Authorization: "Bearer T0K3N" },
        events: EVENT_KINDS.filter((kind) => kind !== "decision" && kind !== "effect"),
        timeoutMs: ms(10_000),
        retries: 5,
      },
    ]);
    expect(JSON.stringify(maskTree({ hooks } as never))).not.toContain("T0K3N");
    expect((await mustLoad(BASE)).config.hooks).toEqual([]);
  });

  test("what is wrong with one is said with its name, and no address is shown", async () => {
    expect(await faults({})).toEqual([
      "hooks.pager: wants either a program or an address; write command: /path/to/program, or url: https://…",
    ]);
    expect((await faults({ command: "a", url: "https://a" })).length).toBe(1);
    expect((await faults({ command: "a", events: ["nonsense"] }))[0]).toStartWith("hooks.pager.events: ");
    const [address] = await faults({ url: "ftp://T0K3N" });
    expect(address).toStartWith("hooks.pager.url: ");
    expect(address).not.toContain("T0K3N");
  });

  test("a reload takes them", async () => {
    const before = (await mustLoad(BASE)).config;
    const after = (await mustLoad({ ...BASE, hooks: { pager: { command: "page" } } } as never)).config;
    const { accepted, faults: kept } = diffConfig(before, after);
    expect([accepted.hooks.map(({ name }) => name), kept]).toEqual([["pager"], []]);
  });
});
