// Owns the way a test asks the API without a socket.

import { Api } from "../../../lib/api/app.ts";
import type { Peer } from "../../../lib/api/context.ts";
import type { RestApiConfig } from "../../../lib/model/node-config.ts";
import { LogUnderTest, type NodeUnderTest, restApi } from "./node-under-test.ts";

export const WALL_NOW = Date.parse("2026-11-21T22:00:00Z");
export const LOCAL_PEER: Peer = { address: "127.0.0.1", certificate: "not-asked", allowSilence: () => undefined };

export interface Asked {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
}

export function apiOf(node: NodeUnderTest, settings: Partial<RestApiConfig> = {}, log = new LogUnderTest()) {
  const config = restApi(settings);
  const api = new Api({ service: node, log, settings: () => config, wallNow: () => WALL_NOW });
  return async (
    method: string,
    path: string,
    body?: unknown,
    options: { peer?: Partial<Peer>; headers?: Record<string, string> } = {},
  ): Promise<Asked> => {
    const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
    const headers = { ...(text === undefined ? {} : { "content-length": String(Buffer.byteLength(text)) }), ...options.headers };
    const request = new Request(`http://127.0.0.1:8008${path}`, { method, headers, ...(text === undefined ? {} : { body: text }) });
    const response = await api.handle(request, { ...LOCAL_PEER, ...options.peer });
    return { status: response.status, text: await response.text(), headers: response.headers };
  };
}

/** Status and text of a POST. */
export async function answer(node: NodeUnderTest, path: string, body: unknown): Promise<[number, string]> {
  const { status, text } = await apiOf(node)("POST", path, body);
  return [status, text];
}
