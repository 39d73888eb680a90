// Owns the headers that every answer carries: restapi.http_extra_headers, https_extra_headers and server_tokens.

import type { RestApiConfig } from "../model/node-config.ts";
import { PRODUCT_NAME, PRODUCT_VERSION } from "../model/product.ts";

export interface AnswerHeaders {
  /** For answers without a body. */
  readonly bare: Readonly<Record<string, string>>;
  readonly json: Readonly<Record<string, string>>;
}

export function answerHeaders(settings: RestApiConfig): AnswerHeaders {
  const bare: Record<string, string> = {
    server: serverToken(settings.serverTokens),
    ...settings.httpExtraHeaders,
    ...(settings.certfile === null ? {} : settings.httpsExtraHeaders),
  };
  return { bare, json: { "content-type": "application/json", ...bare } };
}

/** original (the default) also names the runtime. */
function serverToken(tokens: string): string {
  switch (tokens.toLowerCase()) {
    case "minimal":
      return `${PRODUCT_NAME}/${PRODUCT_VERSION}`;
    case "productonly":
      return PRODUCT_NAME;
    default:
      return `${PRODUCT_NAME}/${PRODUCT_VERSION} Bun/${Bun.version}`;
  }
}
