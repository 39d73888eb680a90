// Owns publishing this member's key after a cycle. Decides nothing: what it writes is member-record.ts.

import { describeStoreError } from "../model/errors.ts";
import { memberRecord } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import { dcsDeadline } from "./perform-dcs.ts";

/** Publishes this member where something changed. The holder's positions go with its renewal. */
export async function touchMember(context: NodeContext): Promise<void> {
  const { state, store, log } = context;
  if (state.dcsFailure !== null || store.session() === null || state.requests.shutdown) return;
  const touched = await store.touchMember(memberRecord(context), { deadline: dcsDeadline(context) });
  if (!touched.ok) log.warning(`the member key was not written: ${describeStoreError(touched.error)}`);
}
