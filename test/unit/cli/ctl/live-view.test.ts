// A view that is ended by Ctrl-C, as a process of its own, beside a DCS that takes connections and never answers.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { onOwnTerminal } from "../../../harness/terminal.ts";

const CTL = join(import.meta.dir, "../../../../scripts/ctl.ts");

let asked = Promise.withResolvers<void>();
let dcs: Bun.TCPSocketListener<undefined>;
beforeAll(() => {
  dcs = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { open: () => asked.resolve(), data: () => {} } });
});
afterAll(() => dcs.stop(true));

test.each([
  { shown: "on a terminal", command: onOwnTerminal },
  { shown: "into a pipe", command: (words: readonly string[]) => [...words] },
])("a view $shown that is ended while the DCS has not answered ends with success", async ({ shown, command }) => {
  asked = Promise.withResolvers();
  const view = Bun.spawn(command([process.execPath, "run", CTL, "-d", `consul://127.0.0.1:${dcs.port}`, "list", "demo", "-W"]), {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  await Promise.race([asked.promise, view.exited]);
  if (shown === "into a pipe") view.kill("SIGINT");
  else {
    view.stdin.write("\x03");
    view.stdin.flush();
  }
  expect(await view.exited).toBe(0);
});
