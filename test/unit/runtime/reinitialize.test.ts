// Goal: who is asked for a new copy twice makes it once, and who leads meanwhile not at all. Method: a node that does not lead, its service, and no loop that would take up
// what was asked for.

import { expect, test } from "bun:test";
import { ok } from "../../../lib/model/result.ts";
import { FreshStatus } from "../../../lib/runtime/fresh-status.ts";
import { LocalNodeService } from "../../../lib/runtime/local-node-service.ts";
import { acquireLock } from "../../../lib/runtime/perform-lock.ts";
import { promote } from "../../../lib/runtime/promotion.ts";
import type { RecordingLog } from "../../harness/recording-log.ts";
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

test("a copy that was asked for and not made yet is not made any more once this node has taken the lock, or was promoted", async () => {
  for (const by of ["the lock", "the promotion"] as const) {
    const bench = new Bench();
    const node = await (by === "the lock" ? bench.node("replica") : bench.leader());
    node.state.requests = { ...node.state.requests, restart: true, reinitialize: { fromLeader: false } };
    if (by === "the lock") {
      expect((await acquireLock(node)).ok).toBe(true);
    } else {
      node.postgres.callback = () => undefined;
      node.postgres.checkpoint = async () => ok(null);
      node.postgres.promote = async ({ onWritable }) => {
        onWritable();
        return ok(null);
      };
      expect((await promote(node, null, new AbortController().signal)).ok).toBe(true);
    }
    expect(node.state.requests).toMatchObject({ restart: true, reinitialize: null });
    expect((node.log as unknown as RecordingLog).lines).toContain(
      "WARNING: reinitialize: the request is dropped, because this node leads now",
    );
  }
});

test("a lock that somebody else has taken leaves the request for a copy as it was", async () => {
  const bench = new Bench();
  await bench.leader();
  const node = await bench.node("replica", "b");
  node.state.requests = { ...node.state.requests, reinitialize: { fromLeader: false } };
  expect((await acquireLock(node)).ok).toBe(false);
  expect(node.state.requests.reinitialize).toEqual({ fromLeader: false });
});
