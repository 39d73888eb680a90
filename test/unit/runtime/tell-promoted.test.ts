// A promotion is told of while its task still runs: the catalogue is noted, and the member key says primary. Real store and state.

import { expect, test } from "bun:test";
import { ms, timeline } from "../../../lib/model/units.ts";
import { promoteServer } from "../../../lib/postgres/promote.ts";
import { postgresRole } from "../../../lib/runtime/postgres-words.ts";
import { promote } from "../../../lib/runtime/promotion.ts";
import { tellPromoted } from "../../../lib/runtime/touch-member.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { status } from "../core/observations.ts";
import { Bench } from "./fenced-node.ts";

test("the member key says primary, and the catalogue is noted, before the promotion's task has ended", async () => {
  const bench = new Bench();
  const node = await bench.leader();
  Object.assign(node.state.local, { status: { ...status(), timeline: timeline(1) }, lastRole: "primary" });
  const settled = Promise.resolve();
  node.state.task = { kind: "promote", aborting: false, startedAt: bench.clock.now(), controller: new AbortController(), settled };
  node.state.localChanged();
  let seen: string | null = null;
  await tellPromoted(node, () => {
    seen = `${postgresRole(node.state)}, ${node.state.local.status?.inRecovery === false ? "looked at" : "as it was"}`;
  });
  expect<string | null>(seen).toBe("primary, looked at");
  const reader = await bench.node("replica", "reader");
  expect(reader.state.cluster?.members.map(({ name, role, state }) => [name, role, state])).toEqual([["a", "primary", "running"]]);
});

test("with the role the member key says that the checkpoint is still to come: who rewinds waits for it", async () => {
  const bench = new Bench();
  const node = await bench.leader();
  Object.assign(node.state.local, { lastRole: "replica", promotedAt: null, checkpointAfterPromote: null });
  const told = Promise.withResolvers<void>();
  node.state.onPromoted = () => void tellPromoted(node, () => undefined).then(told.resolve, told.reject);
  const checkpoint = Promise.withResolvers<Awaited<ReturnType<typeof node.postgres.checkpoint>>>();
  node.postgres.checkpoint = () => checkpoint.promise;
  node.postgres.callback = () => undefined;
  node.postgres.promote = async ({ onWritable }) => {
    onWritable(false);
    await told.promise;
    const { state } = await bench.node("replica", "reader");
    expect(state.cluster?.members).toMatchObject([{ name: "a", role: "primary", checkpointAfterPromote: false }]);
    expect(node.state.local.promotedAt).toBe(bench.clock.now());
    return { ok: true, value: null };
  };
  expect(await promote(node, null, new AbortController().signal)).toMatchObject({ ok: true });
  checkpoint.resolve({ ok: true, value: null });
  await checkpoint.promise;
  await bench.clock.advance(0);
  expect(node.state.local.checkpointAfterPromote).toBe(true);
});

test("who waits for a primary hears of it before its files are written", async () => {
  const bench = new Bench();
  const seen: string[] = [];
  let inRecovery = true;
  const query = async (text: string) => {
    if (text.includes("pg_promote")) inRecovery = false;
    return { ok: true as const, value: [{ in_recovery: inRecovery, promoted: true, conninfo: "", receivers: 0 }] };
  };
  const note = (what: string) => async () => {
    seen.push(what);
    return { ok: true as const, value: null };
  };
  const done = await promoteServer(
    {
      connection: { query } as unknown as Parameters<typeof promoteServer>[0]["connection"],
      clock: bench.clock,
      log: recordingLog(),
      detach: async () => ({ ok: true, value: false }),
      configurePrimary: note("files written"),
      reload: note("reloaded"),
      commitsWait: async () => ({ ok: true, value: "yes" }),
    },
    { deadline: ms(bench.clock.now() + 60_000), synchronousStandbyNames: null, namesHold: false, onWritable: () => void seen.push("told") },
  );
  expect(done).toEqual({ ok: true, value: null });
  expect(seen).toEqual(["told", "files written"]);
});
