// Owns the doctor's look at this machine: disks and how long they take to sync, names, the file's own modes, and what stands behind
// the lease. It writes one small file into each folder whose disk it measures, and removes it.

import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { existsSync } from "node:fs";
import { open, rm, stat, statfs } from "node:fs/promises";
import { isIP } from "node:net";
import { dirname, join } from "node:path";
import { type Finding, fault, fine, unknown, warning } from "../../model/finding.ts";
import { isLoopback, isWildcard } from "../../model/host-port.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { kernelWatchdogUsable } from "../../postgres/watchdog/linux.ts";

/** Less than this is soon full: a base backup, or an hour of WAL. */
const FREE_MIN_BYTES = 2 * 1024 ** 3;
const FREE_MIN_SHARE = 0.1;
const SYNCS = 15;
const SYNC_BYTES = 8192;
/** A commit, and a Raft that agrees, wait for a sync: above this the cluster is slow, above the other a lease is at risk. */
const SYNC_SLOW_MS = 20;
const SYNC_FAULT_MS = 500;
/** A name server that takes longer holds up every new connection. */
const NAME_SLOW_MS = 500;
const NAME_WITHIN_MS = 3_000;

export async function diskFindings(config: NodeConfig): Promise<readonly Finding[]> {
  const raft = config.raft?.dataDir ?? null;
  const wanted = [
    ["postgresql.data_dir", config.postgresql.dataDir] as const,
    ...(raft === null ? [] : [["raft.data_dir", raft] as const]),
  ];
  return (await Promise.all(wanted.map(([option, folder]) => diskOf(option, folder)))).flat();
}

async function diskOf(option: string, folder: string): Promise<readonly Finding[]> {
  const subject = `disk ${option}`;
  const there = nearest(folder);
  try {
    const { bavail, blocks, bsize } = await statfs(there);
    const [free, all] = [bavail * bsize, blocks * bsize];
    const text = `${gib(free)} of ${gib(all)} GiB are free at ${there}`;
    const space =
      free < FREE_MIN_BYTES || free < all * FREE_MIN_SHARE
        ? warning(subject, text, "make room, or move the folder to a larger disk: a full disk stops PostgreSQL")
        : fine(subject, text);
    return [space, await syncOf(subject, await besideOnSameDisk(there, folder))];
  } catch (error) {
    return [unknown(subject, `${there} cannot be looked at: ${messageOf(error)}`, "run it as the user that the supervisor runs as")];
  }
}

/** Beside a folder rather than in it: nothing of ours stands in PostgreSQL's data, unless that is a disk of its own. */
async function besideOnSameDisk(there: string, folder: string): Promise<string> {
  if (there !== folder) return there;
  const above = dirname(folder);
  return (await stat(above)).dev === (await stat(folder)).dev ? above : folder;
}

async function syncOf(subject: string, folder: string): Promise<Finding> {
  const path = join(folder, `.matriarch-doctor-${randomBytes(6).toString("hex")}`);
  const times: number[] = [];
  try {
    const file = await open(path, "wx", 0o600);
    try {
      for (let count = 0; count < SYNCS; count++) {
        await file.write(randomBytes(SYNC_BYTES), 0, SYNC_BYTES, 0);
        const began = performance.now();
        await file.datasync();
        times.push(performance.now() - began);
      }
    } finally {
      await file.close();
      await rm(path, { force: true });
    }
  } catch (error) {
    return unknown(subject, `a sync cannot be timed in ${folder}: ${messageOf(error)}`, "run it as the user that the supervisor runs as");
  }
  const sorted = times.toSorted((a, b) => a - b);
  const median = sorted[SYNCS >> 1] ?? 0;
  const worst = sorted.at(-1) ?? 0;
  const text = `a sync takes ${median.toFixed(1)} ms, at most ${worst.toFixed(1)} ms of ${SYNCS}`;
  const fix = "use a disk with a power-safe cache, or one of its own: each commit and each step of the Raft waits for it";
  if (median >= SYNC_FAULT_MS) return fault(subject, text, fix);
  return median >= SYNC_SLOW_MS ? warning(subject, text, fix) : fine(subject, text);
}

/** The folder itself, or the first one above it that is there. */
function nearest(folder: string): string {
  let there = folder;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  return there;
}

/** Every name that this node is known by, or reaches others by. */
export async function nameFindings(config: NodeConfig): Promise<readonly Finding[]> {
  const named: readonly (readonly [string, string])[] = [
    ["restapi.connect_address", config.restapi.connectAddress.host],
    ["postgresql.connect_address", config.postgresql.connectAddress.host],
    ...(config.consul === null ? [] : [["consul.host", new URL(config.consul.url).hostname] as const]),
    ...(config.raft?.selfAddr == null ? [] : [["raft.self_addr", config.raft.selfAddr.host] as const]),
    ...(config.raft?.partnerAddrs ?? []).map(({ host }) => ["raft.partner_addrs", host] as const),
  ];
  const published = named.filter(([option]) => /connect_address|self_addr/.test(option));
  const wildcards = published
    .filter(([, host]) => isWildcard(host))
    .map(([option, host]) =>
      fault(`name ${option}`, `${host} is no address that others can connect to`, `write ${option}: with this host's name or address`),
    );
  const loopbacks = published
    .filter(([, host]) => isLoopback(host))
    .map(([option, host]) =>
      warning(`name ${option}`, `${host} is reached from this host alone`, `write ${option}: with an address that the other nodes reach`),
    );
  const distinct = [
    ...new Map(named.filter(([, host]) => isIP(host.replace(/^\[|\]$/g, "")) === 0).map((entry) => [entry.join(" "), entry])).values(),
  ];
  return [...wildcards, ...loopbacks, ...(await Promise.all(distinct.map(([option, host]) => resolved(option, host))))];
}

async function resolved(option: string, host: string): Promise<Finding> {
  const subject = `name ${option}`;
  const began = performance.now();
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(resolve, NAME_WITHIN_MS, null);
  try {
    const found = await Promise.race([lookup(host, { all: true }), late]);
    if (found === null)
      return fault(subject, `${host} is not resolved within ${NAME_WITHIN_MS} ms`, "put it into /etc/hosts, or mend the name server");
    const took = performance.now() - began;
    const text = `${host} is ${found.map(({ address }) => address).join(", ")} (${took.toFixed(0)} ms)`;
    return took > NAME_SLOW_MS
      ? warning(subject, text, "put it into /etc/hosts: a slow name server delays each new connection")
      : fine(subject, text);
  } catch (error) {
    return fault(
      subject,
      `${host} is not resolved: ${messageOf(error)}`,
      `put it into /etc/hosts or DNS, or write an address in ${option}`,
    );
  } finally {
    clearTimeout(timer);
  }
}

/** Files that hold secrets: nobody else may read them. */
export async function modeFindings(config: NodeConfig, file: string | null): Promise<readonly Finding[]> {
  const held: readonly (readonly [string, string | null])[] = [
    ["the configuration", file],
    ["restapi.keyfile", config.restapi.keyfile],
    ["ctl.keyfile", config.ctl.keyfile],
    ["consul.key", config.consul?.key ?? null],
    ["raft.keyfile", config.raft?.keyfile ?? null],
    ["postgresql.pgpass", existsSync(config.postgresql.pgpass) ? config.postgresql.pgpass : null],
  ];
  const findings: Finding[] = [];
  for (const [what, path] of held) {
    if (path === null) continue;
    const subject = `mode ${what}`;
    try {
      const { mode } = await stat(path);
      const text = `${path} has mode ${(mode & 0o7777).toString(8).padStart(4, "0")}`;
      findings.push(
        (mode & 0o007) === 0 ? fine(subject, text) : fault(subject, `${text}: everybody on this host can use it`, `chmod o= ${path}`),
      );
    } catch (error) {
      findings.push(unknown(subject, `${path}: ${messageOf(error)}`));
    }
  }
  return findings;
}

/** What stops PostgreSQL at the end of a lease (docs/fencing.md). */
export function fencingFindings(config: NodeConfig): readonly Finding[] {
  const { mode, driver, device } = config.watchdog;
  const subject = "fencing";
  if (mode === "off")
    return [
      warning(subject, "watchdog.mode is off: a supervisor that hangs leaves PostgreSQL writing", "write watchdog: {mode: automatic}"),
    ];
  if (driver === "testing") return [warning(subject, "the testing driver fences nothing", "remove watchdog.driver")];
  if (driver !== "process" && kernelWatchdogUsable(device))
    return [fine(subject, `the kernel's watchdog ${device} resets a host that hangs`)];
  if (driver === "linux")
    return [fault(subject, `${device} is not there, or not this user's to write`, `modprobe softdog; chown postgres ${device}`)];
  if (Bun.which("bash") === null) return [fault(subject, "there is no bash, which the guard process is run by", "apt install bash")];
  const text =
    "a guard process stops PostgreSQL where the supervisor dies or hangs; a host that freezes as a whole is covered by a kernel watchdog alone";
  return [fine(subject, text)];
}

function gib(bytes: number): string {
  return (bytes / 1024 ** 3).toFixed(1);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
