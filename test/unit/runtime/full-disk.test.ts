// Goal: a write that a full disk cuts off is no success, and spoils nothing of what comes before or after it.
// Method: a process of its own that may not make files longer than a limit: the kernel then writes what fits, as on a full disk.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "matriarch-full-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const at = (path: string): string => JSON.stringify(resolve(import.meta.dir, "../../..", path));

/** Runs the script (its last words are JSON) with files limited to so many KiB; `room()` in it takes the limit away. */
async function limited(kib: number, script: string): Promise<unknown> {
  const room = 'const room = () => Bun.spawnSync(["prlimit", "--pid", String(process.pid), "--fsize=unlimited"]);';
  const command = ["bash", "-c", 'ulimit -S -f "$0"; "$1" -e "$2"; :', String(kib), process.execPath, `${room}\n${script}`];
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  return JSON.parse(await new Response(child.stdout).text());
}

test("a record that did not fit on the disk was not written; another one does as soon as there is room", async () => {
  const full = await limited(
    12,
    `import * as v from "valibot";
    import { readTwinFile, TwinFile } from ${at("lib/runtime/twin-file.ts")};
    const [path, schema] = [${JSON.stringify(join(folder, "other"))}, v.string()];
    const file = TwinFile.open(path, schema).value;
    const cut = file.write("x".repeat(6000)).ok;
    const nothing = readTwinFile(path, schema);
    room();
    process.stdout.write(JSON.stringify({ cut, nothing, again: file.write("again").ok, read: readTwinFile(path, schema) }));`,
  );
  expect(full).toEqual({ cut: false, nothing: null, again: true, read: "again" });
});

test("a line of the log that was cut off is lost and counted; the next one stands on a line of its own", async () => {
  const said = await limited(
    1,
    `import { createSink } from ${at("lib/runtime/log-sink.ts")};
    const { sink } = createSink({ dir: ${JSON.stringify(folder)}, fileSizeBytes: 0, fileNum: 0, mode: null });
    const cut = sink.write("x".repeat(2000));
    room();
    const next = sink.write("next");
    process.stdout.write(JSON.stringify({ cut, next, lost: sink.lost() }));`,
  );
  expect(said).toEqual({ cut: false, next: true, lost: 1 });
  expect(readFileSync(join(folder, "patroni.log"), "utf8")).toBe(`${"x".repeat(1024)}\nnext\n`);
});
