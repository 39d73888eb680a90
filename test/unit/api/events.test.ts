// Goal: whoever reads events gets each one once and in order, learns where some are lost, and can hold up nobody.

import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Agent, request } from "undici/index.js";
import { EVENT_STREAMS_MAX, EventStreams, HEARTBEAT_MS, STREAM_WAITING_MAX } from "../../../lib/api/events.ts";
import { IDLE_TIMEOUT_SECONDS } from "../../../lib/api/listener.ts";
import { type ApiServer, startApi } from "../../../lib/api/server.ts";
import type { NodeEvent } from "../../../lib/model/event.ts";
import { EVENTS_KEPT_MAX } from "../../../lib/runtime/event-log.ts";
import { makeAuthority } from "../../harness/certificates.ts";
import { apiOf } from "./asking.ts";
import { LogUnderTest, NodeUnderTest, restApi } from "./node-under-test.ts";

const open: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.stop()));
});

function happen(node: NodeUnderTest, count: number): void {
  for (let index = 0; index < count; index += 1) node.events.add({ kind: "pause", paused: true }, `event ${index}`, "rule");
}

async function serve(node: NodeUnderTest, settings: Parameters<typeof restApi>[0] = {}): Promise<ApiServer> {
  const started = await startApi({ config: restApi(settings), service: node, log: new LogUnderTest() });
  if (!started.ok) throw new Error(started.error.message);
  open.push(started.value);
  return started.value;
}

/** Reads a stream until `enough` says so of its text so far; ends it then. */
async function readUntil(body: ReadableStream<Uint8Array>, enough: (text: string) => boolean): Promise<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (!enough(text)) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  await reader.cancel();
  return text;
}

function idsIn(text: string): readonly string[] {
  return [...text.matchAll(/^id: (.*)$/gm)].map(([, id = ""]) => id);
}

const STREAM = { headers: { accept: "text/event-stream" } };

describe("GET /events as JSON", () => {
  test("has what is kept, oldest first, after an id and of the kinds asked for", async () => {
    const node = new NodeUnderTest();
    node.events.add({ kind: "leader", leader: "node1", former: null }, "node1 leads", null);
    happen(node, 3);
    const ask = apiOf(node);
    const all = JSON.parse((await ask("GET", "/events")).text);
    expect(all.events.map(({ text }: NodeEvent) => text)).toEqual(["node1 leads", "event 0", "event 1", "event 2"]);
    expect(all.events[0]).toMatchObject({ scope: "demo", name: "node1", kind: "leader", leader: "node1", former: null, rule: null });
    expect([all.missed, all.kept_max]).toEqual([false, EVENTS_KEPT_MAX]);
    const later = JSON.parse((await ask("GET", `/events?after=${all.events[2].id}`)).text);
    expect([later.events.map(({ text }: NodeEvent) => text), later.missed]).toEqual([["event 2"], false]);
    const leaders = JSON.parse((await ask("GET", "/events?kind=leader,role")).text);
    expect(leaders.events.map(({ text }: NodeEvent) => text)).toEqual(["node1 leads"]);
    expect((await ask("GET", "/events?kind=nonsense")).status).toBe(400);
  });

  test("keeps so many and no more, and says where some are missed", async () => {
    const node = new NodeUnderTest();
    happen(node, 1);
    const ask = apiOf(node);
    const first = JSON.parse((await ask("GET", "/events")).text).events[0].id;
    happen(node, EVENTS_KEPT_MAX);
    const whole = JSON.parse((await ask("GET", `/events?after=${first}`)).text);
    expect([whole.events.length, whole.missed]).toEqual([EVENTS_KEPT_MAX, false]);
    happen(node, 1);
    const cut = JSON.parse((await ask("GET", `/events?after=${first}`)).text);
    expect([cut.events.length, cut.missed]).toEqual([EVENTS_KEPT_MAX, true]);
    const foreign = JSON.parse((await ask("GET", "/events?after=zzz-3")).text);
    expect([foreign.events.length, foreign.missed]).toEqual([EVENTS_KEPT_MAX, true]);
  });

  test("HEAD opens no stream: it leaves no reader behind", async () => {
    const ask = apiOf(new NodeUnderTest());
    for (let count = 0; count <= EVENT_STREAMS_MAX; count += 1) expect((await ask("HEAD", "/events", undefined, STREAM)).status).toBe(200);
  });
});

describe("GET /events as a stream", () => {
  test("sends what is kept and what follows; a reader that comes back goes on where it was", async () => {
    const node = new NodeUnderTest();
    const server = await serve(node);
    const url = `http://127.0.0.1:${server.port}/events`;
    happen(node, 2);
    const response = await fetch(url, STREAM);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reading = readUntil(response.body as never, (text) => {
      if (idsIn(text).length === 2) happen(node, 1);
      return idsIn(text).length >= 3;
    });
    const first = idsIn(await reading);
    happen(node, 2);
    const again = await fetch(url, { headers: { ...STREAM.headers, "last-event-id": first[1] ?? "" } });
    const second = await readUntil(again.body as never, (text) => idsIn(text).at(-1)?.split("-")[1] === "5");
    const numbers = idsIn(second).map((id) => Number(id.split("-")[1]));
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(numbers[0]).toBe(3);
    expect(second).not.toContain("lost");
    expect(second).toContain('event: pause\ndata: {"id":"');
  });

  test("goes over TLS with verify_client optional too, and a stop does not wait for its readers", async () => {
    const authority = makeAuthority();
    const { cert, key } = authority.issue("server");
    const node = new NodeUnderTest();
    const server = await serve(node, { certfile: cert, keyfile: key, cafile: authority.ca, verifyClient: "optional" });
    const agent = new Agent({ connect: { ca: readFileSync(authority.ca, "utf8") } });
    const answer = await request(`https://127.0.0.1:${server.port}/events`, { ...STREAM, dispatcher: agent });
    happen(node, 1);
    let text = "";
    for await (const chunk of answer.body) {
      text += String(chunk);
      if (text.includes("event 0")) await server.stop();
    }
    expect(text).toContain("event 0");
    await agent.destroy();
    authority.remove();
  });

  test("is told that some are lost where the last one seen is another process's", async () => {
    const node = new NodeUnderTest();
    happen(node, 1);
    const response = new EventStreams().open(node.events, "other-7", null);
    expect(await readUntil(response.body as never, (text) => text.includes("event 0"))).toContain(": some events before these are lost");
  });

  test("lets a reader go that does not keep up, and holds no more for it than promised", async () => {
    const node = new NodeUnderTest();
    const streams = new EventStreams();
    const response = streams.open(node.events, null, null);
    happen(node, STREAM_WAITING_MAX + 100);
    expect(streams.count).toBe(0);
    const text = await readUntil(response.body as never, () => false);
    expect(idsIn(text).length).toBeLessThanOrEqual(STREAM_WAITING_MAX);
    expect(idsIn(text)[0]?.endsWith("-1")).toBe(true);
  });

  test("has room for so many readers, and for others once one has left", async () => {
    const node = new NodeUnderTest();
    const streams = new EventStreams();
    const responses = Array.from({ length: EVENT_STREAMS_MAX }, () => streams.open(node.events, null, null));
    expect(streams.open(node.events, null, null).status).toBe(503);
    await responses[0]?.body?.cancel();
    expect(streams.open(node.events, null, null).status).toBe(200);
    streams.close();
    expect(streams.count).toBe(0);
    expect(streams.open(node.events, null, null).status).toBe(503);
  });

  test("sends something before the listener takes its connection for idle", async () => {
    expect(HEARTBEAT_MS * 2).toBeLessThan(IDLE_TIMEOUT_SECONDS * 1000);
    const streams = new EventStreams(1);
    const response = streams.open(new NodeUnderTest().events, null, null);
    expect(await readUntil(response.body as never, (text) => text.includes(": all is quiet"))).toContain("\n\n: all is quiet\n\n");
    streams.close();
  });
});
