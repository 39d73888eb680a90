// Owns when the client of the members' REST APIs is loaded: with the first request, because most commands that only read make none.

import type { Result } from "../../model/result.ts";
import type { Ms } from "../../model/units.ts";
import type { PeerAnswer, PeerClient, PeerError } from "../../runtime/peer-client.ts";
import type { PeerDocument } from "../../runtime/peer-document.ts";

type Options = ConstructorParameters<typeof PeerClient>[0];

/** As PeerClient, which answers. */
export class LatePeers {
  readonly #options: Options;
  #client: Promise<PeerClient> | null = null;

  constructor(options: Options) {
    this.#options = options;
  }

  async fault(): ReturnType<PeerClient["fault"]> {
    return (await this.#loaded()).fault();
  }

  async status(apiUrl: string, deadline: Ms): Promise<Result<PeerDocument, PeerError>> {
    return (await this.#loaded()).status(apiUrl, deadline);
  }

  async send(...request: Parameters<PeerClient["send"]>): Promise<Result<PeerAnswer, PeerError>> {
    return (await this.#loaded()).send(...request);
  }

  async close(): Promise<void> {
    await (await this.#client)?.close();
  }

  #loaded(): Promise<PeerClient> {
    this.#client ??= import("../../runtime/peer-client.ts").then(({ PeerClient }) => new PeerClient(this.#options));
    return this.#client;
  }
}
