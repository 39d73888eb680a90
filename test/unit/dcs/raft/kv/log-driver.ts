// Owns a log of one member for tests of the machine: it counts indexes and cluster time, and registers clients.

import type { Command, CommandAnswer, Envelope } from "../../../../../lib/dcs/raft/kv/command.ts";
import { encodeEnvelope } from "../../../../../lib/dcs/raft/kv/command-codec.ts";
import { type CommandEntry, KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import { logIndex } from "../../../../../lib/model/raft.ts";

export class LogDriver {
  readonly machine: KeyValueMachine;
  /** Everything that was applied, so that it can be applied elsewhere. */
  readonly entries: CommandEntry[] = [];
  time = 1_000;

  constructor(machine: KeyValueMachine = new KeyValueMachine()) {
    this.machine = machine;
  }

  apply(envelope: Envelope): CommandAnswer {
    return this.applyBytes(encodeEnvelope(envelope));
  }

  applyBytes(payload: Uint8Array): CommandAnswer {
    const entry = { index: logIndex(this.machine.appliedIndex + 1), time: this.time, payload };
    this.entries.push(entry);
    return this.machine.apply(entry);
  }

  /** The leader's own command. */
  own(command: Command): CommandAnswer {
    return this.apply({ client: null, sequence: 0, acknowledged: 0, command });
  }

  client(name = "c"): DrivenClient {
    const answer = this.own({ kind: "open-client", id: name });
    if (!answer.ok || answer.value.kind !== "client") throw new Error(`no client: ${JSON.stringify(answer)}`);
    return new DrivenClient(this, answer.value.id);
  }
}

export class DrivenClient {
  readonly id: string;
  readonly #log: LogDriver;
  sequence = 0;
  acknowledged = 0;

  constructor(log: LogDriver, id: string) {
    this.#log = log;
    this.id = id;
  }

  /** Sends a new command; its answer counts as acknowledged from the next one on. */
  send(command: Command): CommandAnswer {
    this.sequence++;
    const answer = this.repeat(command, this.sequence);
    this.acknowledged = this.sequence;
    return answer;
  }

  /** Sends under that sequence, once more or for the first time. */
  repeat(command: Command, sequence: number): CommandAnswer {
    return this.#log.apply({ client: this.id, sequence, acknowledged: Math.min(this.acknowledged, sequence - 1), command });
  }

  put(key: string, value: string): CommandAnswer {
    return this.send({ kind: "change", changes: [{ kind: "put", key, value }] });
  }
}
