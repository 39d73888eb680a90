// Owns the look at the address of the primary's host where no supervisor runs, and taking it off by hand. It never puts it anywhere.

import { join } from "node:path";
import { encodeJson } from "../../dcs/encode.ts";
import { programRunner } from "../../postgres/programs.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { bootId, readLeaseFile } from "../lease-file.ts";
import { stateDir } from "../run-lock.ts";
import { presence, removeAddress, withPrefix } from "../vip/interface-address.ts";
import { type Alone, complain, openAlone } from "./open.ts";

/** Exit status: 0 done, 1 no address is configured, or it cannot be taken off, 2 usage, 4 beside a supervisor. */
export async function mainOfVip(): Promise<ExitCode> {
  const alone = await openAlone({ worker: "vip", flags: ["--release"], lock: "look" });
  if (!alone.ok) return alone.error;
  try {
    return await look(alone.value);
  } finally {
    await alone.value.close();
  }
}

async function look({ context, flags }: Alone): Promise<ExitCode> {
  const { clock, state } = context;
  const { postgresql, vip } = state.settings.node;
  if (vip === null) {
    complain("vip: no address is configured; write vip: {address: 10.0.0.100/24, interface: eth0}");
    return EXIT.failed;
  }
  if (flags.has("--release")) {
    const removed = await removeAddress({ clock, run: programRunner(postgresql, clock) }, vip);
    if (!removed.ok) {
      complain(`vip: ${withPrefix(vip)} was not taken off ${vip.interface}: ${removed.error}`);
      return EXIT.failed;
    }
  }
  const lease = readLeaseFile(join(stateDir(postgresql.dataDir), "lease"));
  const left = lease === null || lease.bootId !== bootId() ? 0 : Math.max(0, Math.round(lease.deadline - clock.now()));
  const answer = { worker: "vip", address: withPrefix(vip), interface: vip.interface, here: presence(vip) === "here", leaseLeftMs: left };
  process.stdout.write(`${encodeJson(answer)}\n`);
  return EXIT.ok;
}
