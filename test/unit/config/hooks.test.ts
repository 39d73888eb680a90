import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { maskTree } from "../../../lib/config/mask.ts";
import { diffConfig } from "../../../lib/config/reload.ts";
import { EVENT_KINDS } from "../../../lib/model/event.ts";
import { ms } from "../../../lib/model/units.ts";
import { BASE, loadTree, mustLoad, newFolder, removeFiles } from "./fixtures.ts";

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
    const [address, ...others] = await faults({ url: "ftp://T0K3N" });
    expect(others).toEqual([]);
    expect(address).toStartWith("hooks.pager.url: ");
    expect(address).not.toContain("T0K3N");
  });

  test("may come from variables, alone or over what the file says", async () => {
    const address = join(newFolder(), "address");
    writeFileSync(address, "https://chat.example.com/T0K3N\n", { mode: 0o600 });
    const variables = {
      PATRONI_HOOKS_PAGER_COMMAND: "/usr/local/bin/page",
      PATRONI_HOOKS_PAGER_EVENTS: "failover, fencing",
      PATRONI_HOOKS_ON_CALL_URL_FILE: address,
      PATRONI_HOOKS_ON_CALL_HEADERS: "{Authorization: Bearer T0K3N}",
      PATRONI_HOOKS_ON_CALL_TIMEOUT: "2",
      MATRIARCH_HOOKS_ON_CALL_TIMEOUT: "3",
      PATRONI_HOOKS_AUDIT_RETRIES: "1",
    };
    const loaded = await mustLoad({ ...BASE, hooks: { audit: { command: "audit", retries: 9 } } } as never, variables);
    expect(
      loaded.config.hooks.map(({ name, command, url, timeoutMs, retries }) => [name, command, url, timeoutMs / 1000, retries]),
    ).toEqual([
      ["audit", "audit", null, 10, 1],
      ["on_call", null, "https://chat.example.com/T0K3N", 3, 5],
      ["pager", "/usr/local/bin/page", null, 10, 5],
    ]);
    expect(loaded.config.hooks[1]?.headers).toEqual({ Authorization: "Bearer T0K3N" });
    expect(loaded.config.hooks[2]?.events).toEqual(["failover", "fencing"]);
    expect(loaded.sources.get("hooks.on_call.url")).toBe(`file:${address}`);
    expect(loaded.warnings).toEqual([]);
    expect(JSON.stringify(maskTree(loaded.raw))).not.toContain("T0K3N");
    const whole = await mustLoad(BASE, { PATRONI_HOOKS: "{pager: {command: page}}" });
    expect(whole.config.hooks.map(({ name, command }) => [name, command])).toEqual([["pager", "page"]]);
  });

  test("a variable that names no hook or no option of one is told, and so is an unknown option in the file", async () => {
    const loaded = await mustLoad({ ...BASE, hooks: { pager: { command: "page", retry: 1 } } } as never, {
      PATRONI_HOOKS_URL: "https://chat.example.com",
      PATRONI_HOOKS_PAGER_COLOUR: "red",
    });
    expect(loaded.warnings.map(({ path, message }) => `${path}: ${message}`)).toEqual([
      "PATRONI_HOOKS_PAGER_COLOUR: this variable sets no option and is ignored",
      "PATRONI_HOOKS_URL: this variable sets no option and is ignored",
      "hooks.pager.retry: unknown and ignored; remove it",
    ]);
  });

  test("a reload takes them", async () => {
    const before = (await mustLoad(BASE)).config;
    const after = (await mustLoad({ ...BASE, hooks: { pager: { command: "page" } } } as never)).config;
    const { accepted, faults: kept } = diffConfig(before, after);
    expect([accepted.hooks.map(({ name }) => name), kept]).toEqual([["pager"], []]);
  });
});
