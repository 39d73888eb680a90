// Owns the forms of an answer: JSON as Patroni writes it, text exactly as given, status alone.

import { formatJson } from "../core/json-text.ts";
import type { BodyFault } from "./body.ts";

const JSON_HEADERS = { "content-type": "application/json" };
const TEXT_HEADERS = { "content-type": "text/plain; charset=utf-8" };

export function jsonAnswer(value: unknown, status = 200): Response {
  return new Response(formatJson(value), { status, headers: JSON_HEADERS });
}

export function textAnswer(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(text, { status, headers: { ...TEXT_HEADERS, ...headers } });
}

/** A body that was not read to its end: the connection is closed with the answer, or the rest would have to be taken in. */
export function bodyRefusal({ status, text }: BodyFault): Response {
  return textAnswer(status, text, status === 408 || status === 413 ? { connection: "close" } : {});
}
