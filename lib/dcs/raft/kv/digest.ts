// Owns the digest of the machine's state, by which the simulator compares members. Not for security: 32 bits, fast.

import type { Session } from "../../store.ts";
import type { CommandAnswer } from "./command.ts";
import type { MachineState } from "./machine-state.ts";

/** Covers everything that can change what a later entry does; of the watches' history only how far it goes back. */
export function digestOf(state: MachineState): number {
  let digest = mix(mix(hashNumber(state.index), hashNumber(state.time)), hashNumber(state.revision));
  let keys = 0;
  for (const slot of state.keys.slots()) {
    if (slot.hash === 0) {
      const { key, value, revision, session } = slot.entry;
      slot.hash = mix(mix(hashText(key), hashText(value)), mix(hashNumber(revision), session === null ? 1 : hashText(session))) || 1;
    }
    // A sum, as the order in which the keys were made is not part of the state.
    keys = (keys + slot.hash) | 0;
  }
  let sessions = 0;
  for (const { session, name, renewal, deadline } of state.sessions.all()) {
    const what = mix(hashSession(session), hashText(name));
    sessions = (sessions + mix(what, mix(hashNumber(renewal), hashNumber(deadline)))) | 0;
  }
  digest = mix(mix(digest, keys), sessions);
  for (const client of state.clients.all()) {
    let answers = 0;
    for (const [sequence, answer] of client.answers) answers = (answers + mix(hashNumber(sequence), hashAnswer(answer))) | 0;
    digest = mix(mix(digest, hashText(client.id)), mix(mix(hashNumber(client.acknowledged), hashNumber(client.usedAt)), answers));
  }
  return mix(mix(digest, hashNumber(state.history.floor)), state.history.size) >>> 0;
}

function hashAnswer(answer: CommandAnswer): number {
  if (!answer.ok) {
    const { error } = answer;
    const detail = "reason" in error ? error.reason : error.kind === "session-gone" ? error.session : "";
    return mix(hashText(error.kind), hashText(detail));
  }
  switch (answer.value.kind) {
    case "revisions": {
      let hash = 2;
      for (const revision of answer.value.revisions) hash = mix(hash, hashNumber(revision));
      return hash;
    }
    case "session":
      return hashSession(answer.value.session);
    case "client":
      return hashText(answer.value.id);
    case "done":
      return 3;
  }
}

function hashSession({ id, promisedMs, place }: Session): number {
  return mix(mix(hashText(id), hashNumber(promisedMs)), place === null ? 1 : hashText(place));
}

/** FNV-1a over the code units. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash;
}

const FLOAT = new Float64Array(1);
const HALVES = new Int32Array(FLOAT.buffer);

function hashNumber(value: number): number {
  FLOAT[0] = value;
  return mix(HALVES[0] as number, HALVES[1] as number);
}

/** The order counts. */
function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ (a >>> 15), 0x2c1b3c6d) + Math.imul(b ^ (b >>> 13), 0x297a2d39);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
