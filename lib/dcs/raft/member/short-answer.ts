// Owns the length of answers: one that no frame carries is refused in words, instead of ending the connection or the thread.

import { type ClientAnswer, writeClientAnswer } from "../kv/client-protocol.ts";
import { fitsFrame } from "../transport/frame.ts";

/** The answer's text, or that of a refusal. */
export function writeShortAnswer(answer: ClientAnswer): string {
  const text = writeClientAnswer(answer);
  return fitsFrame(text) ? text : writeClientAnswer({ kind: "refused", reason: "the answer is too long: ask for a longer prefix" });
}
