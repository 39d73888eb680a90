import { expect, test } from "bun:test";
import { Lazy, loaded } from "../../../lib/model/lazy.ts";

test("what is made once is shared by all who ask, and a making that failed is not kept", async () => {
  let makings = 0;
  const lazy = new Lazy(async () => {
    makings += 1;
    if (makings === 1) throw new Error("no memory");
    return makings;
  });
  const first = [lazy.get(), lazy.get()].map((asked) => asked.catch((reason: Error) => reason.message));
  expect(await Promise.all(first)).toEqual(["no memory", "no memory"]);
  expect(await Promise.all([lazy.get(), lazy.get()])).toEqual([2, 2]);
  expect(await lazy.get()).toBe(2);
});

test("what cannot be loaded is told in words", async () => {
  expect(await loaded(async () => 1)).toEqual({ ok: true, value: 1 });
  const failed = await loaded(() => Promise.reject(new Error("no such file")));
  expect(failed).toEqual({ ok: false, error: "a part of the program cannot be loaded: Error: no such file" });
});
