// Goal: who is asked for a new copy twice makes it once. Method: a node that does not lead, its service, and no loop that would take up
// what was asked for.

import { expect, test } from "bun:test";
import { FreshStatus } from "../../../lib/runtime/fresh-status.ts";
import { LocalNodeService } from "../../../lib/runtime/local-node-service.ts";
import { Bench } from "./fenced-node.ts";

test("a second request for a new copy is refused from the moment on at which the first was accepted, unless it is forced", async () => {
  const context = await new Bench().leader();
  context.state.held = null;
  const service = new LocalNodeService(context, FreshStatus.of(context), () => undefined);
  const ask = (force: boolean) => service.reinitialize({ force, fromLeader: force });
  expect(await ask(false)).toEqual({ status: 200, text: "reinitialize started" });
  expect(await ask(false)).toEqual({ status: 503, text: "reinitialize already in progress" });
  expect(context.state.requests.reinitialize).toEqual({ fromLeader: false });
  expect(await ask(true)).toEqual({ status: 200, text: "reinitialize started" });
  expect(context.state.requests.reinitialize).toEqual({ fromLeader: true });
});
