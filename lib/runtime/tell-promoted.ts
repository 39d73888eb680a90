// Owns telling of a promotion the moment the server accepts writes: clients look for it in the catalogue, poolers at the member key. The
// cycle in which the HA loop would come to it renews the lock, and more, before. Decides nothing.

import type { NodeContext } from "./node-context.ts";
import { lookAtPostgres } from "./observe.ts";
import { touchMember } from "./touch-member.ts";

/** `noteCatalogue`: something about the node has changed. */
export async function tellPromoted(context: NodeContext, noteCatalogue: () => void): Promise<void> {
  await lookAtPostgres(context);
  noteCatalogue();
  await touchMember(context);
}
