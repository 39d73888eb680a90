// Owns the reading of a request body: bounded in size and time, a JSON object of the form that is wanted or a clear refusal.

import * as v from "valibot";
import { parseJson } from "../core/json-text.ts";
import { err, ok, type Result } from "../model/result.ts";

/** The whole dynamic configuration of a large cluster is a few kilobytes; Consul refuses values above 512 KiB. */
export const MAX_BODY_BYTES = 1024 * 1024;
/** A client that sends its body drop by drop is given up after this. */
export const BODY_TIMEOUT_MS = 10_000;
/** Nested deeper than any configuration; deeper input only costs stack. */
export const MAX_BODY_DEPTH = 64;

export interface BodyFault {
  readonly status: 400 | 408 | 411 | 413;
  readonly text: string;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Reads a JSON object. `empty: "allowed"` takes a missing or empty body as `{}`.
 * Errors: 400 not a JSON object, 408 too slow, 411 no body announced, 413 too large.
 */
export async function readJsonObject(
  request: Request,
  options: { readonly empty: "allowed" | "refused" },
): Promise<Result<JsonObject, BodyFault>> {
  const announced = request.headers.get("content-length");
  if (announced === null && request.headers.get("transfer-encoding") === null) {
    return options.empty === "allowed" ? ok({}) : err({ status: 411, text: "the request needs a body with a JSON object" });
  }
  if (announced !== null && Number(announced) > MAX_BODY_BYTES) return err(tooLarge());
  const text = await readText(request);
  if (!text.ok) return text;
  if (text.value.trim() === "") {
    return options.empty === "allowed" ? ok({}) : err({ status: 400, text: "the body is empty: a JSON object is needed" });
  }
  return parseObject(text.value);
}

/**
 * Reads a body of the schema's form. Errors: as readJsonObject, and 400 with the schema's own words for the first
 * wrong value, in the order of the body.
 */
export async function readBody<S extends v.GenericSchema>(
  request: Request,
  schema: S,
  options: { readonly empty: "allowed" | "refused" },
): Promise<Result<v.InferOutput<S>, BodyFault>> {
  const body = await readJsonObject(request, options);
  if (!body.ok) return body;
  const parsed = v.safeParse(schema, body.value, { abortPipeEarly: true });
  if (parsed.success) return ok(parsed.output);
  const names = Object.keys(body.value);
  const place = (issue: v.BaseIssue<unknown>): number => {
    const at = names.indexOf(String(issue.path?.[0]?.key));
    // What is missing comes after what is wrong.
    return at === -1 ? names.length : at;
  };
  const [first] = parsed.issues.toSorted((a, b) => place(a) - place(b));
  return err({ status: 400, text: first?.message ?? "the body is not of the form that is needed" });
}

function parseObject(text: string): Result<JsonObject, BodyFault> {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    // JSON.parse throws SyntaxError, and RangeError for nesting without end: both mean that this is no usable document.
    return err({ status: 400, text: `the body is not valid JSON: ${error instanceof Error ? error.message : String(error)}` });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return err({ status: 400, text: "the body is not a JSON object" });
  if (depth(value, 0) > MAX_BODY_DEPTH) return err({ status: 400, text: `the body is nested deeper than ${MAX_BODY_DEPTH} levels` });
  return ok(value as JsonObject);
}

function depth(value: unknown, above: number): number {
  if (typeof value !== "object" || value === null || above > MAX_BODY_DEPTH) return above;
  let deepest = above + 1;
  for (const item of Object.values(value)) deepest = Math.max(deepest, depth(item, above + 1));
  return deepest;
}

async function readText(request: Request): Promise<Result<string, BodyFault>> {
  const reader = request.body?.getReader();
  if (reader === undefined) return ok("");
  const timer = Promise.withResolvers<"timeout">();
  const timeout = setTimeout(() => timer.resolve("timeout"), BODY_TIMEOUT_MS);
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const part = await Promise.race([reader.read(), timer.promise]);
      if (part === "timeout") return giveUp(reader, { status: 408, text: "the body did not arrive in time" });
      if (part.done) break;
      size += part.value.byteLength;
      if (size > MAX_BODY_BYTES) return giveUp(reader, tooLarge());
      chunks.push(part.value);
    }
    return ok(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)));
  } catch (error) {
    return err({ status: 400, text: `the body cannot be read: ${error instanceof Error ? error.message : String(error)}` });
  } finally {
    clearTimeout(timeout);
  }
}

async function giveUp(reader: { cancel(): Promise<void> }, fault: BodyFault): Promise<Result<string, BodyFault>> {
  await reader.cancel();
  return err(fault);
}

function tooLarge(): BodyFault {
  return { status: 413, text: `the body is larger than ${MAX_BODY_BYTES} bytes` };
}
