// Owns the interface of what a client asks through: one question, one answer, by a deadline. A member in this process
// (member/node.ts), one in a Worker (client/local.ts) and members over the network (client/remote.ts) all are one.

import type { Ms } from "../../../model/units.ts";
import type { ClientAnswer, ClientRequest } from "../kv/client-protocol.ts";

export interface RaftChannel {
  /** Rejects never. Answers by the deadline; `unknown-outcome` of a command may be repeated under the same sequence. `gone` gives it up. */
  request(request: ClientRequest, deadline: Ms, gone?: AbortSignal | null): Promise<ClientAnswer>;
}
