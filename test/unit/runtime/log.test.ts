// The log: lines as Patroni writes them, files that rotate, and nothing that a disk or a reader does may stop the process.

import { afterAll, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LogConfig } from "../../../lib/model/node-config.ts";
import { createLog } from "../../../lib/runtime/log.ts";
import { createFormatter, strftime } from "../../../lib/runtime/log-format.ts";

const folder = mkdtempSync(join(tmpdir(), "log-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const CONFIG: LogConfig = {
  type: "plain",
  level: "INFO",
  format: "%(asctime)s %(levelname)s: %(message)s",
  dateformat: null,
  staticFields: {},
  dir: null,
  fileNum: 4,
  fileSizeBytes: 25_000_000,
  mode: null,
  loggers: {},
  deduplicateHeartbeatLogs: false,
};
const NOON = new Date(2026, 0, 5, 12, 3, 4, 56).getTime();
const LINE = { level: "INFO", name: "matriarch.postgres", message: "text", epochMs: NOON };

function logged(config: Partial<LogConfig>, write: (log: ReturnType<typeof createLog>) => void): string {
  const dir = mkdtempSync(join(folder, "dir-"));
  const log = createLog({ ...CONFIG, dir, ...config });
  write(log);
  log.close();
  return readFileSync(join(dir, "patroni.log"), "utf8");
}

describe("the form of a line", () => {
  test("plain: 23 characters of local time, a blank, the level", () => {
    expect(createFormatter(CONFIG)(LINE)).toBe("2026-01-05 12:03:04,056 INFO: text");
  });

  test("fields, widths and dates of an own format; an unknown field stays as written", () => {
    const format = createFormatter({
      ...CONFIG,
      format: "%(levelname)-8s|%(message)6s|%(message).2s|%(levelno)d|%(name)s|%(module)s|100%%|%(nope)s",
    });
    expect(format(LINE)).toBe("INFO    |  text|te|20|matriarch.postgres|postgres|100%|%(nope)s");
    expect(createFormatter({ ...CONFIG, format: "%(asctime)s", dateformat: "%d.%m.%y %H:%M" })(LINE)).toBe("05.01.26 12:03");
  });

  test("JSON carries the event that a line tells of; events without a line of their own have one in JSON only", () => {
    const event = JSON.stringify({ id: "a-1", kind: "leader", leader: "node1" });
    const write = (log: ReturnType<typeof createLog>): void => {
      log.info("told", event);
      log.info("plain line");
      log.event("node1 leads", event);
    };
    const lines = logged({ type: "json", format: ["message"] }, write)
      .trim()
      .split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { message: "told", event: JSON.parse(event) },
      { message: "plain line" },
      { message: "node1 leads", event: JSON.parse(event) },
    ]);
    expect(logged({ format: "%(message)s" }, write)).toBe("told\nplain line\n");
  });

  test("JSON: listed fields, renamed fields, static fields", () => {
    const format = createFormatter({
      ...CONFIG,
      type: "json",
      format: ["message", "module", { asctime: "@timestamp" }, { levelname: "level" }],
      staticFields: { app: "patroni" },
    });
    expect(JSON.parse(format({ ...LINE, message: 'a "b"\nc' }))).toEqual({
      message: 'a "b"\nc',
      module: "postgres",
      "@timestamp": "2026-01-05 12:03:04,056",
      level: "INFO",
      app: "patroni",
    });
  });

  test("JSON with a text format holds the fields that the text names", () => {
    const format = createFormatter({ ...CONFIG, type: "json" });
    expect(JSON.parse(format(LINE))).toEqual({ asctime: "2026-01-05 12:03:04,056", levelname: "INFO", message: "text" });
  });

  test("strftime knows what dates in logs use", () => {
    expect(strftime("%Y-%m-%dT%H:%M:%S|%j|%a|%b|%I %p|%F %T|%%|%Q", NOON)).toBe(
      "2026-01-05T12:03:04|005|Mon|Jan|12 PM|2026-01-05 12:03:04|%|%Q",
    );
    expect(strftime("%z", NOON)).toMatch(/^[+-]\d{4}$/);
  });
});

describe("what is written", () => {
  test("lines below the level are not, a named part may have its own level", () => {
    const text = logged({ loggers: { "patroni.postgres": "DEBUG", "matriarch.dcs": "ERROR" } }, (log) => {
      log.debug("one");
      log.named("postgres").debug("two");
      log.named("postgres.rewind").debug("three");
      log.named("dcs").warning("four");
      log.critical("five");
    });
    expect(text.match(/\w+: \w+$/gm)).toEqual(["DEBUG: two", "DEBUG: three", "CRITICAL: five"]);
  });

  test("a heartbeat line is left out only where it repeats and that is asked for", () => {
    const beats = (log: ReturnType<typeof createLog>): void => {
      for (const text of ["a", "a", "b", "b", "a"]) log.heartbeat(text);
    };
    expect(logged({}, beats).split("\n")).toHaveLength(6);
    expect(logged({ deduplicateHeartbeatLogs: true }, beats).match(/\w$/gm)).toEqual(["a", "b", "a"]);
  });

  test("a new configuration counts at once; a folder that cannot be used is reported, and the log goes on", () => {
    const dir = mkdtempSync(join(folder, "dir-"));
    const text = logged({}, (log) => {
      log.reconfigure({ ...CONFIG, dir: "/proc/nothing" });
      log.info("still here");
      log.reconfigure({ ...CONFIG, dir, level: "ERROR" });
      log.info("not written");
      log.error("elsewhere");
    });
    expect(text).toContain("WARNING: log.dir: /proc/nothing cannot be used");
    expect(text).toContain("still here");
    expect(readFileSync(join(dir, "patroni.log"), "utf8")).toMatch(/ERROR: elsewhere\n$/);
  });
});

describe("files", () => {
  test("rotate at their size, keep file_num old ones, have the mode asked for", () => {
    const dir = mkdtempSync(join(folder, "dir-"));
    const log = createLog({ ...CONFIG, dir, fileNum: 2, fileSizeBytes: 200, mode: 0o640 });
    for (let number = 0; number < 30; number++) log.info(`line ${number}`);
    log.close();
    expect(readdirSync(dir).sort()).toEqual(["patroni.log", "patroni.log.1", "patroni.log.2"]);
    for (const name of readdirSync(dir)) {
      expect(statSync(join(dir, name)).size).toBeLessThanOrEqual(200);
      expect(statSync(join(dir, name)).mode & 0o777).toBe(0o640);
    }
    expect(readFileSync(join(dir, "patroni.log"), "utf8")).toMatch(/line 29\n$/);
  });
});

describe("a sink that fails", () => {
  test("a full disk costs lines, which are counted, and nothing else", () => {
    const full = openSync("/dev/full", "w");
    const log = createLog(CONFIG, { stderrFd: full });
    for (let number = 0; number < 10; number++) log.info("text");
    expect(log.lost()).toBe(10);
    closeSync(full);
  });

  test("a closed stderr throws nothing", () => {
    const fd = openSync("/dev/null", "w");
    closeSync(fd);
    const log = createLog(CONFIG, { stderrFd: fd });
    log.info("text");
    expect(log.lost()).toBe(1);
  });

  test("a reader that has stopped does not stop the writer; later it gets the latest lines, and how many are missing", async () => {
    const script = join(folder, "writer.ts");
    await Bun.write(
      script,
      `import { createLog } from ${JSON.stringify(new URL("../../../lib/runtime/log.ts", import.meta.url).pathname)};
      import { existsSync } from "node:fs";
      const log = createLog(${JSON.stringify(CONFIG)});
      for (let n = 0; n < 3000; n++) log.info("x".repeat(100) + n);
      await Bun.write("done", "");
      while (!existsSync("read")) await Bun.sleep(10);
      log.info("last");
      log.close();
      log.info("after the close");`,
    );
    // The reader starts only once the writer says that it is done.
    const pipeline = '"$0" writer.ts 2>&1 >/dev/null | { until [ -e done ]; do sleep 0.01; done; touch read; cat; }';
    const child = Bun.spawn(["bash", "-c", pipeline, process.execPath], { cwd: folder, stdout: "pipe" });
    const lines = (await new Response(child.stdout).text()).trim().split("\n");
    expect(lines.some((line) => line.endsWith("INFO: last"))).toBe(true);
    expect(lines.some((line) => line.endsWith("x2999"))).toBe(true);
    const counts = lines.map((line) => / WARNING: log lines lost so far: (\d+)$/.exec(line)?.[1]).filter((count) => count !== undefined);
    const lost = Number(counts.at(-1));
    expect(lost).toBeGreaterThan(0);
    expect(lost + lines.length - counts.length).toBe(3000 + 2);
  });
});
