import { expect, test } from "bun:test";
import { somebodyListens, takenAddress } from "../../../lib/runtime/port-check.ts";

test("an address that somebody listens on is named, and a free one is left free", async () => {
  const other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = other;
  expect(await takenAddress(["127.0.0.1"], port)).toBe(`127.0.0.1:${port}`);
  expect(await takenAddress(["127.0.0.2", "*"], port)).toBe(`*:${port}`);
  expect(await takenAddress(["localhost"], port)).toBe(`localhost:${port}`);
  other.stop(true);
  expect(await takenAddress(["127.0.0.1", "*"], port)).toBeNull();
  const next = Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } });
  next.stop(true);
});

test("an address that this machine does not have is left to PostgreSQL", async () => {
  expect(await takenAddress(["192.0.2.1", "no-such-host.invalid"], 5432)).toBeNull();
});

test("whether anybody listens at an API's URL is known without a word to it", async () => {
  let heard = 0;
  const api = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data: () => {
        heard += 1;
      },
    },
  });
  const url = `http://127.0.0.1:${api.port}/patroni`;
  expect(await somebodyListens(url, 60_000)).toBe(true);
  api.stop(true);
  expect(await somebodyListens(url, 60_000)).toBe(false);
  expect(heard).toBe(0);
  expect(await somebodyListens("http://no-such-host.invalid:8008", 60_000)).toBe(false);
  expect(await somebodyListens("not a url", 60_000)).toBe(false);
});
