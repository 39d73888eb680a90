// Owns this node's member key: written under our session, only when it changed. Whether another live supervisor uses
// the same name is judged elsewhere, before the first call.

import type { Cluster } from "../model/cluster.ts";
import { findMember } from "../model/cluster.ts";
import type { StoreError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Revision } from "../model/units.ts";
import { MemberText } from "./encode.ts";
import type { OpenSession, SessionKeeper } from "./session-keeper.ts";
import type { Change, Entry, RequestOptions, Store } from "./store.ts";

export interface MemberKeeperOptions {
  readonly store: Store;
  readonly sessions: SessionKeeper;
  readonly key: string;
  readonly name: string;
}

export class MemberKeeper {
  readonly #store: Store;
  readonly #sessions: SessionKeeper;
  readonly #key: string;
  readonly #name: string;
  readonly #text = new MemberText();
  /** What we wrote last, as far as we know still there. */
  #written: { readonly text: string; readonly session: string; readonly revision: Revision } | null = null;

  constructor(options: MemberKeeperOptions) {
    this.#store = options.store;
    this.#sessions = options.sessions;
    this.#key = options.key;
    this.#name = options.name;
  }

  /** A newer snapshot in which our key is missing or another's: the next touch writes it again. */
  observe(cluster: Cluster): void {
    this.observeKey(findMember(cluster, this.#name), cluster.revision);
  }

  /** The same for whoever reads no members. `found`: what stands under our key at that revision. Value: whether it is not what we wrote. */
  observeKey(found: Pick<Entry, "session" | "revision"> | null, at: Revision): boolean {
    const written = this.#written;
    if (written === null || at < written.revision) return false;
    if (found !== null && found.session === written.session && found.revision === written.revision) return false;
    this.#written = null;
    return true;
  }

  /** Errors: unavailable, unknown-outcome, rejected; condition-failed where somebody else keeps writing the same key. */
  async touch(fields: Readonly<Record<string, unknown>>, force: boolean, options: RequestOptions): Promise<Result<Revision, StoreError>> {
    const text = this.#text.encode(fields);
    const { current } = this.#sessions;
    const session = current === null ? await this.#sessions.ensure(options) : ok(current);
    if (!session.ok) return session;
    const written = this.#written;
    if (!force && written?.text === text && written.session === session.value.id) return ok(written.revision);
    const first = await this.#write(text, session.value, options);
    if (first.ok || first.error.kind !== "session-gone") return first;
    this.#sessions.forget(session.value.id);
    const another = await this.#sessions.ensure(options);
    return another.ok ? this.#write(text, another.value, options) : another;
  }

  /**
   * The changes that publish the record along with a transaction of ours; null where it is there already. `done` takes the
   * revision of the last change, once they were applied. They succeed whoever owns the key: a foreign member key must not
   * make the lock look lost.
   */
  plan(
    fields: Readonly<Record<string, unknown>>,
    session: OpenSession,
  ): { readonly changes: readonly Change[]; done(written: Revision): void } | null {
    const text = this.#text.encode(fields);
    const written = this.#written;
    if (written?.text === text && written.session === session.id) return null;
    return {
      changes: [
        { kind: "delete", key: this.#key },
        { kind: "put", key: this.#key, value: text, session: session.id },
      ],
      done: (revision) => {
        this.#written = { text, session: session.id, revision };
      },
    };
  }

  async delete(options: RequestOptions): Promise<Result<null, StoreError>> {
    this.#written = null;
    return this.#store.delete(this.#key, options);
  }

  /** The key was handed to another session of ours. */
  forget(): void {
    this.#written = null;
  }

  async #write(text: string, session: OpenSession, options: RequestOptions): Promise<Result<Revision, StoreError>> {
    this.#written = null;
    const put = await this.#store.put(this.#key, text, { deadline: options.deadline, session: session.id });
    const result = !put.ok && put.error.kind === "condition-failed" ? await this.#replaceForeign(text, session, options) : put;
    if (result.ok) this.#written = { text, session: session.id, revision: result.value };
    return result;
  }

  /** Our key stands there under a session that is not ours, left by an earlier run of this node. */
  async #replaceForeign(text: string, session: OpenSession, options: RequestOptions): Promise<Result<Revision, StoreError>> {
    const snapshot = await this.#store.snapshot(this.#key, { deadline: options.deadline, consistency: "consistent" });
    if (!snapshot.ok) return snapshot;
    const old = snapshot.value.entries.find((entry) => entry.key === this.#key);
    const put = { kind: "put", key: this.#key, value: text, session: session.id } as const;
    const applied = await this.#store.transaction(
      old === undefined ? [put] : [{ kind: "delete", key: this.#key, condition: { kind: "revision", revision: old.revision } }, put],
      options,
    );
    if (!applied.ok) return applied;
    const written = applied.value.at(-1);
    return written === undefined ? err({ kind: "unknown-outcome", reason: "the store named no revision" }) : ok(written);
  }
}
