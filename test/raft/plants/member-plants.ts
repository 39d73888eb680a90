// Owns the bugs that can be planted around the core: in the driver, the storage and the key-value machine. Found by the simulation
// of whole members.

import type { Plant } from "./plant.ts";

const RAFT = "lib/dcs/raft";

export const MEMBER_PLANTS: readonly Plant[] = [
  {
    name: "durable-without-sync",
    what: "a batch counts as durable once it is written, before any sync",
    level: "whole",
    file: `${RAFT}/storage/log-writer.ts`,
    find: `    if (group.hardState === null) {
      await file.sync();
    } else {`,
    replace: `    if (group.hardState === null) {
    } else {`,
  },
  {
    name: "start-trusts-memory",
    what: "a start takes what it reads for durable, also after a sync that failed",
    level: "whole",
    file: `${RAFT}/storage/open-storage.ts`,
    find: `  await file.write(0, await disk.readAt(name, 0, end.end));
`,
    replace: "",
  },
  {
    name: "repeated-is-applied-again",
    what: "a command that is repeated is applied again",
    level: "whole",
    file: `${RAFT}/kv/machine.ts`,
    find: `    if (admission.kind === "repeated") return admission.answer;`,
    replace: `    if (admission.kind === "repeated" && !admission.answer.ok) return admission.answer;`,
    also: [
      {
        file: `${RAFT}/kv/machine.ts`,
        find: `    clients.remember(admission.client, sequence, answer);`,
        replace: `    if (admission.kind === "admitted") clients.remember(admission.client, sequence, answer);`,
      },
    ],
  },
  {
    name: "put-after-session-ended",
    what: "a put of a session that has ended is applied, and stays",
    level: "whole",
    file: `${RAFT}/kv/change.ts`,
    find: `    if (sessions.get(change.session) === undefined) return err({ kind: "session-gone", session: change.session });
`,
    replace: "",
  },
  {
    name: "expiry-before-deadline",
    what: "a session expires whatever its deadline is and however often it was renewed",
    level: "whole",
    file: `${RAFT}/kv/machine.ts`,
    find: `record.renewal !== command.renewal || this.#state.time < record.deadline`,
    replace: `command.renewal < 0`,
    also: [
      {
        file: `${RAFT}/kv/machine.ts`,
        find: `deadline: time + promisedMs`,
        replace: `deadline: time + promisedMs / 4`,
      },
    ],
  },
  {
    name: "read-without-index",
    what: "a linearizable read is answered from what this member happens to have applied",
    level: "whole",
    file: `${RAFT}/member/reads.ts`,
    find: `      const index = await this.#index(deadline);
`,
    replace: `      if (deadline > 0) return ok(null);
      const index = await this.#index(deadline);
`,
  },
  {
    name: "answer-of-another-entry",
    what: "whoever proposed is answered with what was committed at its index, whosever that is",
    level: "whole",
    file: `${RAFT}/member/engine.ts`,
    find: `proposal.settle(proposal.term === entry.term ? { kind: "applied", answer } : { kind: "lost" });`,
    replace: `proposal.settle({ kind: "applied", answer });`,
    also: [
      {
        file: `${RAFT}/member/engine.ts`,
        find: `    if (role.role !== "leader") this.#releaseAccepted("this member no longer leads");
`,
        replace: "",
      },
    ],
  },
];
