// Owns the forms of an answer: JSON as Patroni writes it, text exactly as given, status alone.

import { formatJson } from "../core/json-text.ts";

const JSON_HEADERS = { "content-type": "application/json" };
const TEXT_HEADERS = { "content-type": "text/plain; charset=utf-8" };

export function jsonAnswer(value: unknown, status = 200): Response {
  return new Response(formatJson(value), { status, headers: JSON_HEADERS });
}

export function textAnswer(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(text, { status, headers: { ...TEXT_HEADERS, ...headers } });
}
