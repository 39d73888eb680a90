// What a service manager would receive.

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notifySystemd } from "../../../lib/runtime/systemd-notify.ts";

test("without a service manager nothing is sent, and nothing fails", () => {
  expect(notifySystemd(["READY=1"], undefined)).toBe(false);
  expect(notifySystemd(["READY=1"], "/nothing/there")).toBe(false);
  expect(notifySystemd(["READY=1"], "relative")).toBe(false);
  expect(notifySystemd(["READY=1"], `/${"x".repeat(200)}`)).toBe(false);
});

const python = Bun.which("python3");

test.skipIf(python === null)("the lines arrive as one datagram, by path and by abstract name", async () => {
  const folder = mkdtempSync(join(tmpdir(), "notify-"));
  for (const [name, bound] of [
    [join(folder, "socket"), join(folder, "socket")],
    [`@${folder}`, `\\0${folder}`],
  ] as const) {
    const script = `import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.bind("${bound}")\nprint("bound", flush=True)\nprint(s.recv(1000), flush=True)`;
    const receiver = Bun.spawn([python ?? "", "-c", script], { stdout: "pipe" });
    const reader = receiver.stdout.getReader();
    const decoder = new TextDecoder();
    let text = "";
    while (!text.endsWith("\n")) text += decoder.decode((await reader.read()).value);
    expect(notifySystemd(["READY=1", "STATUS=leader"], name)).toBe(true);
    text = "";
    while (!text.endsWith("\n")) text += decoder.decode((await reader.read()).value);
    expect(text).toBe("b'READY=1\\nSTATUS=leader'\n");
    await receiver.exited;
  }
  rmSync(folder, { recursive: true, force: true });
});
