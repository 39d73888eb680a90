// Owns the questions of this member to addresses that it has no link to: one kept connection for each, one answer for each
// question. It repeats nothing.

import { err, type Result } from "../../../model/result.ts";
import type { Ms } from "../../../model/units.ts";
import { ClientDialer, type ClientDialerOptions, type ClientLink } from "../transport/client-link.ts";
import { type PeerRequest, writePeerRequest } from "./peer-protocol.ts";

export class Questions {
  readonly #dialer: ClientDialer;
  readonly #links = new Map<string, Promise<Result<ClientLink, string>>>();
  #closed = false;

  constructor(options: ClientDialerOptions) {
    this.#dialer = new ClientDialer(options);
  }

  /** The answer's text, or why there is none. */
  async ask(address: string, request: PeerRequest, deadline: Ms): Promise<Result<string, string>> {
    const link = await this.#link(address, deadline);
    if (!link.ok) return link;
    const answer = await link.value.request(writePeerRequest(request), deadline);
    if (answer.ok) return answer;
    // A connection that does not answer may be half dead: the next question opens another.
    this.#forget(address, link.value);
    return err(answer.error.reason);
  }

  close(): void {
    this.#closed = true;
    for (const link of this.#links.values()) void link.then((opened) => opened.ok && opened.value.close());
    this.#links.clear();
  }

  #link(address: string, deadline: Ms): Promise<Result<ClientLink, string>> {
    const known = this.#links.get(address);
    if (known !== undefined) return known;
    const opened = this.#open(address, deadline);
    this.#links.set(address, opened);
    return opened;
  }

  async #open(address: string, deadline: Ms): Promise<Result<ClientLink, string>> {
    const dialled = await this.#dialer.connect(address, deadline);
    if (!dialled.ok) {
      this.#links.delete(address);
      return err(dialled.error.message);
    }
    const link = dialled.value;
    if (this.#closed) {
      link.close();
      return err("this member stops");
    }
    link.onClosed = () => this.#links.delete(address);
    return dialled;
  }

  #forget(address: string, link: ClientLink): void {
    this.#links.delete(address);
    link.close();
  }
}
