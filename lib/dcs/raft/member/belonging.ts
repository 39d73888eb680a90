// Owns whether this member belongs to its cluster, has not been taken in yet, or was removed. A configuration counts only once it
// is committed: one that names a newcomer may vanish with its leader, and that is no removal.

import type { MemberId } from "../../../model/raft.ts";
import { decodeConfiguration, findMember, isVoter } from "../core/configuration.ts";
import type { CoreStatus } from "../core/raft.ts";
import type { Configuration, LogEntry } from "../core/types.ts";

export class Belonging {
  readonly #id: MemberId;
  #wasVoter: boolean;
  #wasTakenIn = false;

  /** With every configuration that its folder holds. */
  constructor(id: MemberId, held: readonly Configuration[]) {
    this.#id = id;
    this.#wasVoter = held.some((configuration) => isVoter(configuration, id));
  }

  /** A configuration has named it a voter, in this life of the process or before: it is no newcomer. */
  get wasVoter(): boolean {
    return this.#wasVoter;
  }

  isIn(configuration: Configuration): boolean {
    return findMember(configuration, this.#id) !== null;
  }

  /** Nothing more can follow from this configuration being committed. */
  isSettled(configuration: Configuration): boolean {
    return this.#wasTakenIn && this.isIn(configuration);
  }

  see(configuration: Configuration): void {
    this.#wasVoter ||= isVoter(configuration, this.#id);
  }

  /** `removed`: a leader that was removed hands over first, and is removed then. */
  judge({ configuration, configurationIndex, commit, role }: CoreStatus): "in" | "out" | "removed" {
    const committed = configurationIndex <= commit;
    if (this.isIn(configuration)) {
      this.#wasTakenIn ||= committed;
      return "in";
    }
    return this.#wasTakenIn && committed && role !== "leader" ? "removed" : "out";
  }
}

/** Those that the entries bring. */
export function configurationsOf(entries: readonly LogEntry[]): readonly Configuration[] {
  return entries.filter(({ kind }) => kind === "configuration").map(({ payload }) => decodeConfiguration(payload));
}
