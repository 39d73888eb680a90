// Owns who a request says it is: a user by password, or a token, each compared in constant time. What they may do is access.ts'.

import { createHash, timingSafeEqual } from "node:crypto";
import type { ApiToken } from "../model/api-access.ts";
import type { BasicAuth, RestApiConfig } from "../model/node-config.ts";

/** - `user`: the one of restapi.authentication, who may do everything. */
export type Caller = { readonly kind: "user" } | { readonly kind: "token"; readonly token: ApiToken } | { readonly kind: "unknown" };

/** `header`: the text of Authorization. */
export function callerOf(header: string, { authentication, tokens }: RestApiConfig): Caller {
  const bearer = /^Bearer\s+(\S+)\s*$/i.exec(header)?.[1];
  if (bearer !== undefined) {
    const token = findToken(bearer, tokens);
    return token === null ? { kind: "unknown" } : { kind: "token", token };
  }
  return authentication !== null && isAuthentic(header, authentication) ? { kind: "user" } : { kind: "unknown" };
}

/** Looks at every one of them, so that the time does not say which it was. */
function findToken(presented: string, tokens: readonly ApiToken[]): ApiToken | null {
  const digest = digestOf(presented);
  let found: ApiToken | null = null;
  for (const token of tokens) if (timingSafeEqual(digest, digestOf(token.token))) found = token;
  return found;
}

function isAuthentic(header: string, expected: BasicAuth): boolean {
  const match = /^Basic\s+([A-Za-z0-9+/=_-]+)\s*$/i.exec(header);
  if (match?.[1] === undefined) return false;
  const presented = Buffer.from(match[1], "base64").toString("utf8");
  return timingSafeEqual(digestOf(presented), digestOf(`${expected.username}:${expected.password}`));
}

/** Digests have one length, so neither the length nor the first difference shows in the time. */
function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
