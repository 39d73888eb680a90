// Owns the entry of the Worker thread that a Raft member runs in: the real clock and the port, and nothing else.

import { MemberThread } from "../dcs/raft/member/worker.ts";
import { realClock } from "./clock.ts";

declare const self: Worker;

const thread = new MemberThread({ postMessage: (messages) => self.postMessage(messages) }, realClock());
self.onmessage = (event: MessageEvent) => thread.onMessage(event.data);
