// Owns the commands by which an address comes to a network interface and goes: ip(8), arping(8), ndptool(8). Each address has a lifetime, after
// which the kernel takes it off, whatever became of us. Must not know when it is to be where.

import { networkInterfaces } from "node:os";
import type { Clock } from "../../model/clock.ts";
import { isIpv6Text } from "../../model/host-port.ts";
import type { VipConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms } from "../../model/units.ts";
import type { RunProgram } from "../../postgres/context.ts";
import { lastLines } from "../../postgres/program-output.ts";
import { shellWords } from "../../postgres/shell-words.ts";

/** A run of ip(8) that takes longer is ended: what it did is then not known. */
export const IP_MAX_MS = 1000;
/** Three announcements, a second apart: a neighbour that has just learned an address takes no other for a second. */
const ANNOUNCEMENTS = 3;
const BETWEEN_ANNOUNCEMENTS_MS = 1000;
const ANNOUNCING_MAX_MS = 10_000;
/** The kernel's words, old and new, and those for an interface that went with all its addresses. */
const NOT_THERE = /Cannot assign requested address|Address not found|Cannot find device|does not exist/i;

/** Its own exit status, and that of what runs it: from 124 on it was ended by timeout(1) or by a signal, and may have done its work. */
const REFUSED_BELOW = 124;

/** `refused`: that run did nothing; otherwise nobody knows. `message`: one line. */
export interface NotDone {
  readonly refused: boolean;
  readonly message: string;
}

export interface InterfaceParts {
  readonly clock: Clock;
  readonly run: RunProgram;
}

/** Puts it there, or gives it a new lifetime. */
export function putAddress(parts: InterfaceParts, vip: VipConfig, seconds: number): Promise<Result<null, NotDone>> {
  const words = ["address", "replace", withPrefix(vip), "dev", vip.interface];
  const life = String(seconds);
  // Never the source of what this host begins itself, which would end with it; and of use at once: that nobody else has it is known.
  if (isIpv6Text(vip.address)) return runIp(parts, vip, [...words, "valid_lft", life, "preferred_lft", "0", "nodad"]);
  return runIp(parts, vip, [...words, "valid_lft", life, "preferred_lft", life]);
}

/** Value: it is not there now. Errors: one line; it may be there or not. */
export async function removeAddress(parts: InterfaceParts, vip: VipConfig): Promise<Result<null, string>> {
  const done = await runIp(parts, vip, ["address", "del", withPrefix(vip), "dev", vip.interface]);
  return done.ok || NOT_THERE.test(done.error.message) ? ok(null) : err(done.error.message);
}

/** Tells the neighbours where it is, until that is done or the signal aborts. Errors: one line. */
export async function announceAddress(parts: InterfaceParts, vip: VipConfig, signal: AbortSignal): Promise<Result<null, string>> {
  const { clock } = parts;
  const deadline = ms(clock.now() + ANNOUNCING_MAX_MS);
  if (!isIpv6Text(vip.address)) {
    const args = ["-q", "-c", String(ANNOUNCEMENTS), "-U", "-I", vip.interface, vip.address];
    return await runAnnouncer(parts, { option: "arping_command", command: vip.arpingCommand, args, signal, deadline });
  }
  // It sends one at a time: an unsolicited neighbour advertisement to all hosts of the link.
  const args = ["-t", "na", "-U", "-i", vip.interface, "-T", vip.address, "send"];
  for (let sent = 0; sent < ANNOUNCEMENTS && !signal.aborted; sent++) {
    if (sent > 0) await clock.sleepUntil(ms(clock.now() + BETWEEN_ANNOUNCEMENTS_MS), signal);
    const told = await runAnnouncer(parts, { option: "ndptool_command", command: ndptoolOf(vip), args, signal, deadline });
    if (!told.ok) return told;
  }
  return ok(null);
}

export function ndptoolOf(vip: VipConfig): string {
  return vip.ndptoolCommand ?? "ndptool";
}

async function runAnnouncer(
  { run }: InterfaceParts,
  options: {
    readonly option: "arping_command" | "ndptool_command";
    readonly command: string;
    readonly args: readonly string[];
    readonly signal: AbortSignal;
    readonly deadline: Ms;
  },
): Promise<Result<null, string>> {
  const { option, command, args, signal, deadline } = options;
  const words = shellWords(command);
  if (words === null) return err(`vip.${option}: a quote is not closed`);
  const done = await run({ argv: [...words, ...args], withoutSecrets: true, signal, deadline });
  if (signal.aborted) return ok(null);
  if (!done.ok) return err(done.error.message);
  return done.value.exitCode === 0 ? ok(null) : err(endedWith(option.replace("_command", ""), done.value));
}

/** Whether an interface that is up has it, whoever put it there. With another prefix it is another entry, which is not ours to take off. */
export function presence(vip: VipConfig): "here" | "other-prefix" | "absent" {
  const same = (networkInterfaces()[vip.interface] ?? []).filter(({ address }) => address === vip.address);
  if (same.some(({ cidr }) => cidr === withPrefix(vip))) return "here";
  return same.length > 0 ? "other-prefix" : "absent";
}

export function withPrefix(vip: VipConfig): string {
  return `${vip.address}/${vip.prefixLength}`;
}

async function runIp({ clock, run }: InterfaceParts, vip: VipConfig, args: readonly string[]): Promise<Result<null, NotDone>> {
  const words = shellWords(vip.ipCommand);
  if (words === null) return err({ refused: true, message: "vip.ip_command: a quote is not closed" });
  const done = await run({ argv: [...words, ...args], withoutSecrets: true, deadline: ms(clock.now() + IP_MAX_MS) });
  if (!done.ok) return err({ refused: done.error.kind === "failed", message: done.error.message });
  const { exitCode } = done.value;
  if (exitCode === 0) return ok(null);
  return err({ refused: exitCode !== null && exitCode < REFUSED_BELOW, message: endedWith("ip", done.value) });
}

function endedWith(program: string, ended: { readonly exitCode: number | null; readonly stderr: string }): string {
  return `${program}: exit status ${ended.exitCode ?? "of a signal"}: ${lastLines(ended.stderr)}`;
}
