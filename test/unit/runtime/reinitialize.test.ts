// Goal: who is asked for a new copy twice makes it once, and who leads meanwhile not at all. Method: a node that does not lead, its service, and no loop that would take up
// what was asked for.

import { expect, test } from "bun:test";
import { err, ok } from "../../../lib/model/result.ts";
import { FreshStatus } from "../../../lib/runtime/fresh-status.ts";
import { LocalNodeService } from "../../../lib/runtime/local-node-service.ts";
import { acquireLock } from "../../../lib/runtime/perform-lock.ts";
import { runTask } from "../../../lib/runtime/perform-postgres.ts";
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

test("a copy that would take what an upgrade has kept is refused before anything stops, and one that is found so later is dropped", async () => {
  const context = await new Bench().leader();
  context.state.held = null;
  const service = new LocalNodeService(context, FreshStatus.of(context), () => undefined);
  context.postgres.keptBeside = async () => "data.before-upgrade-1 has data there";
  for (const force of [false, true])
    expect(await service.reinitialize({ force, fromLeader: false })).toEqual({
      status: 503,
      text: "can not reinitialize: data.before-upgrade-1 has data there",
    });
  context.postgres.keptBeside = () => Promise.reject(new Error("EIO: i/o error"));
  expect(await service.reinitialize({ force: false, fromLeader: false })).toMatchObject({ status: 503 });
  expect(context.state.requests.reinitialize).toBeNull();

  for (const [kept, left] of [
    [null, { fromLeader: false }],
    ["data.before-upgrade-1", null],
  ] as const) {
    context.postgres.keptBeside = async () => kept;
    context.state.requests = { ...context.state.requests, reinitialize: { fromLeader: false } };
    context.postgres.removeDataDirectory = async () => err({ kind: "refused", message: "it is not deleted" });
    const target = { name: "b", host: "h", port: 1, slotName: null };
    const clone = { kind: "clone" as const, target, follow: target, from: "b", methods: "members" as const, clear: true };
    expect(await runTask(context, clone, new AbortController().signal)).toEqual({ ok: false, message: "it is not deleted" });
    expect(context.state.requests.reinitialize).toEqual(left);
  }
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
        onWritable(false);
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
