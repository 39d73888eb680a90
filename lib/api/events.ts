// Owns GET /events: the kept events as JSON, or, to whoever accepts text/event-stream, those and all that follow. A reader that does
// not keep up is let go: it comes back with the id of the last event that it saw. Source: https://html.spec.whatwg.org/#server-sent-events

import { EVENT_KINDS, type EventKind } from "../model/event.ts";
import { EVENTS_KEPT_MAX, type EventSource, type KeptEvent } from "../runtime/event-log.ts";
import { textAnswer } from "./answers.ts";
import type { ApiApp, ApiContext } from "./context.ts";

/** Streams at one time. */
export const EVENT_STREAMS_MAX = 32;
/** Events, of which each is a kilobyte or less, that wait for one reader; beside what the connection itself holds. */
export const STREAM_WAITING_MAX = 2 * EVENTS_KEPT_MAX;
/** So often something is sent: below the listener's idle timeout. */
export const HEARTBEAT_MS = 4000;
/** A browser waits for so long before it comes back. */
const RECONNECT_MS = 1000;

type Kinds = ReadonlySet<EventKind> | null;

export function eventRoutes(app: ApiApp, { service }: ApiContext, streams: EventStreams): void {
  app.get("/events", (c) => {
    const kinds = readKinds(c.req.query("kind"));
    if (kinds === "unknown") return textAnswer(400, `kind: a list of ${EVENT_KINDS.join(", ")}`);
    const streaming = (c.req.header("accept") ?? "").includes("text/event-stream");
    const after = c.req.query("after") ?? (streaming ? (c.req.header("last-event-id") ?? null) : null);
    if (streaming) return streams.open(service.events, after || null, kinds);
    const { events, missed } = service.events.since(after || null);
    const shown = events.filter(({ kind }) => kinds === null || kinds.has(kind)).map(({ json }) => json);
    const text = `{"events": [${shown.join(",\n")}], "missed": ${missed}, "kept_max": ${EVENTS_KEPT_MAX}}`;
    return new Response(text, { headers: { "content-type": "application/json" } });
  });
}

function readKinds(text: string | undefined): Kinds | "unknown" {
  if (text === undefined || text === "") return null;
  const words = text.split(",");
  const kinds = EVENT_KINDS.filter((kind) => words.includes(kind));
  return words.every((word) => EVENT_KINDS.some((kind) => kind === word)) ? new Set(kinds) : "unknown";
}

type Controller = ReadableStreamDefaultController<Uint8Array>;

/** All streams of one API. */
export class EventStreams {
  readonly #open = new Map<Controller, () => void>();
  readonly #heartbeatMs: number;
  #heartbeat: ReturnType<typeof setInterval> | null = null;
  #closed = false;

  constructor(heartbeatMs = HEARTBEAT_MS) {
    this.#heartbeatMs = heartbeatMs;
  }

  /** Readers at this moment. */
  get count(): number {
    return this.#open.size;
  }

  open(source: EventSource, after: string | null, kinds: Kinds): Response {
    if (this.#closed || this.#open.size >= EVENT_STREAMS_MAX) return textAnswer(503, "too many readers of events");
    let leave = (): void => undefined;
    const stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          leave = () => this.#leave(controller);
          this.#begin(controller, source, { after, kinds });
        },
        cancel: () => leave(),
      },
      // Counted in chunks: what waits beyond the connection's own buffers shows as less than nothing.
      { highWaterMark: 0 },
    );
    return new Response(stream, { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } });
  }

  /** Ends every stream, so that no reader holds up a stop. */
  close(): void {
    this.#closed = true;
    for (const controller of [...this.#open.keys()]) this.#end(controller);
  }

  #begin(controller: Controller, source: EventSource, { after, kinds }: { readonly after: string | null; readonly kinds: Kinds }): void {
    const wanted = (event: KeptEvent): boolean => kinds === null || kinds.has(event.kind);
    const { events, missed } = source.since(after);
    const ignore = source.listen((event) => {
      if (wanted(event)) this.#send(controller, chunkOf(event));
    });
    this.#open.set(controller, ignore);
    this.#heartbeat ??= setInterval(() => this.#beat(), this.#heartbeatMs);
    this.#send(controller, encoder.encode(`retry: ${RECONNECT_MS}\n${missed ? ": some events before these are lost\n" : ""}\n`));
    for (const event of events) if (wanted(event)) this.#send(controller, chunkOf(event));
  }

  #beat(): void {
    for (const controller of [...this.#open.keys()]) this.#send(controller, HEARTBEAT);
  }

  #send(controller: Controller, chunk: Uint8Array): void {
    if (!this.#open.has(controller)) return;
    if ((controller.desiredSize ?? 0) <= -STREAM_WAITING_MAX) this.#end(controller);
    else controller.enqueue(chunk);
  }

  #end(controller: Controller): void {
    this.#leave(controller);
    controller.close();
  }

  #leave(controller: Controller): void {
    this.#open.get(controller)?.();
    this.#open.delete(controller);
    if (this.#open.size > 0 || this.#heartbeat === null) return;
    clearInterval(this.#heartbeat);
    this.#heartbeat = null;
  }
}

const encoder = new TextEncoder();
const HEARTBEAT = encoder.encode(": all is quiet\n\n");
/** Encoded once for all readers. */
const chunks = new WeakMap<KeptEvent, Uint8Array>();

function chunkOf(event: KeptEvent): Uint8Array {
  const known = chunks.get(event);
  if (known !== undefined) return known;
  const chunk = encoder.encode(`id: ${event.id}\nevent: ${event.kind}\ndata: ${event.json}\n\n`);
  chunks.set(event, chunk);
  return chunk;
}
