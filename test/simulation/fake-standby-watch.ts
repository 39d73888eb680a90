// Owns how a simulated supervisor hears of a change among its standbys: at the instants at which lib/postgres/standby-watch.ts would
// look, but only where something has happened, so that a quiet second costs no event; where their lag counts, at each of them.

import type { PostgresStatus } from "../../lib/model/postgres.ts";
import { type NearStandbys, STANDBY_ANSWER_MS, STANDBY_LOOK_MS, standbysOf } from "../../lib/postgres/standby-watch.ts";
import type { FakeServer } from "./fake-server.ts";
import type { SimEvent, SimProcess } from "./virtual-clock.ts";

/** As Postgresql.watchStandbys. `present`: the status as a query would give it now, null where it would fail. */
export function watchFakeStandbys(options: {
  readonly server: FakeServer;
  readonly process: SimProcess;
  readonly seen: PostgresStatus;
  readonly near: NearStandbys | null;
  readonly present: () => PostgresStatus | null;
  readonly onChange: () => void;
}): () => void {
  const { server, process, seen, near, present, onChange } = options;
  const { queue, machine } = process;
  const begin = process.now();
  let before: string | null = null;
  let nearBefore: string | null = null;
  let happened = false;
  let look: SimEvent | null = null;
  let ended = false;
  const end = (): void => {
    ended = true;
    stopListening();
    if (look !== null) look.run = null;
  };
  const finish = (): void => {
    if (ended) return;
    end();
    onChange();
  };
  const lookNow = (): void => {
    look = null;
    if (ended) return;
    const status = present();
    if (status !== null && same(status)) {
      happened = false;
      if (near !== null) lookNext();
      return;
    }
    // A server that hangs is given up after a while; any other says at once how it is.
    if (server.hung) look = queue.at(machine.trueTime(process.now() + STANDBY_ANSWER_MS), () => process.deliver(finish));
    else finish();
  };
  const same = (status: PostgresStatus): boolean => {
    if (near !== null) {
      nearBefore ??= near(seen);
      if (near(status) !== nearBefore) return false;
    }
    if (!happened) return true;
    before ??= standbysOf(seen);
    return standbysOf(status) === before;
  };
  const lookNext = (): void => {
    const looks = Math.floor((process.now() - begin) / STANDBY_LOOK_MS) + 1;
    look = queue.at(machine.trueTime(begin + looks * STANDBY_LOOK_MS), () => process.deliver(lookNow));
  };
  const somethingHappened = (): void => {
    if (process.state === "dead") end();
    happened = true;
    if (!ended && look === null) lookNext();
  };
  const stopListening = server.onStandbys(somethingHappened);
  if (near !== null) lookNext();
  return end;
}
