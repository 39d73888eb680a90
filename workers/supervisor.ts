// The supervisor of one node: composes the workers in one process, and turns signals into requests.
// Alone: bun run workers/supervisor.ts node.yml (or PATRONI_CONFIGURATION, or PATRONI_* variables alone).

import { versionLine } from "../lib/model/product.ts";
import { forgetEngineSettings, settleEngine } from "../lib/runtime/engine-settings.ts";
import { EXIT } from "../lib/runtime/exit-codes.ts";
import type { NodeWorkers } from "../lib/runtime/node.ts";

export async function main(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  const adopt = argv.includes("--adopt") ? "adopt" : "careful";
  if (argv.includes("--version")) {
    console.log(versionLine());
    return EXIT.ok;
  }
  if (argv.some((word) => word.startsWith("--") && word !== "--adopt")) {
    // A running node never needs them: they stay out of its memory.
    const { runConfigCommand } = await import("../lib/cli/config-commands.ts");
    const command = await runConfigCommand(argv, env);
    if (command.handled) return command.exitCode;
  }
  const words = argv.filter((word) => !word.startsWith("-"));
  if (words.length > 1) {
    console.error("usage: supervisor [--adopt] [node.yml | folder]");
    return EXIT.usage;
  }
  settleEngine("supervisor", argv);
  forgetEngineSettings(process.env);
  // Only now: what is loaded before is loaded twice.
  const [{ loadNodeConfig }, { createLog }, { MatriarchNode }, { startApiPort }, { run: vip }] = await Promise.all([
    import("../lib/config/load.ts"),
    import("../lib/runtime/log.ts"),
    import("../lib/runtime/node.ts"),
    import("./http-api.ts"),
    import("./vip.ts"),
  ]);
  const path = words[0] ?? null;
  const loaded = await loadNodeConfig({ path, env });
  if (!loaded.ok) {
    for (const fault of loaded.error) console.error(`${fault.path}: ${fault.message}`);
    return EXIT.failed;
  }
  if (process.getuid?.() === 0) {
    console.error("PostgreSQL refuses to run as root: start the supervisor as the user that owns the data directory");
    return EXIT.failed;
  }
  const tell = await systemd(env);
  const started = await MatriarchNode.start({
    loaded: loaded.value,
    path,
    env,
    adopt,
    workers: { leaderRace, watch, httpApi: startApiPort, vip, backup },
  });
  if (!started.ok) {
    const log = createLog(loaded.value.config.log);
    log.critical(started.error.message);
    log.close();
    return started.error.code;
  }
  const node = started.value;
  const stop = (): void => {
    tell("STOPPING=1");
    node.stop();
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("SIGHUP", () => node.reload());
  tell("READY=1");
  const end = await node.run();
  return end.code;
}

/** The loop, the watch and the backups are loaded while the API answers already; all of them are there before the first decision. */
const leaderRace: NodeWorkers["leaderRace"] = async (...given) => await (await import("./leader-race.ts")).run(...given);
const backup: NodeWorkers["backup"] = async (...given) => (await import("./backup.ts")).run(...given);
const watch: NodeWorkers["watch"] = async (...given) => await (await import("./watch.ts")).run(...given);

/** How to tell systemd of our state; without systemd nothing is loaded and nothing is sent. */
async function systemd(env: Readonly<Record<string, string | undefined>>): Promise<(line: string) => void> {
  const socket = env["NOTIFY_SOCKET"];
  if (socket === undefined) return () => undefined;
  // PostgreSQL knows the variable too, and would tell of its own starts and stops as if they were the service's.
  delete process.env["NOTIFY_SOCKET"];
  const { notifySystemd } = await import("../lib/runtime/systemd-notify.ts");
  return (line) => {
    notifySystemd([line], socket);
  };
}

if (import.meta.main) process.exit(await main(process.argv.slice(2), process.env));
