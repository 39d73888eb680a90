// Owns the check that a fresh clone can be installed: `npm ci` refuses a lock that leaves out what a package names, and a
// lock made against a registry that lacks a platform's package leaves it out silently.

import { expect, test } from "bun:test";
import { resolve } from "node:path";
import * as v from "valibot";

const Names = v.optional(v.record(v.string(), v.string()), {});
const Lock = v.object({
  packages: v.record(
    v.string(),
    v.looseObject({ dependencies: Names, optionalDependencies: Names, devDependencies: Names, resolved: v.optional(v.string()) }),
  ),
});

const root = resolve(import.meta.dir, "../..");
const { packages } = v.parse(Lock, await Bun.file(resolve(root, "package-lock.json")).json());

/** Where Node's rules would find `name` for the package at `from`; null when the lock has no such place. */
function placeOf(name: string, from: string): string | null {
  for (let base = from; ; base = base.includes("/node_modules/") ? base.slice(0, base.lastIndexOf("/node_modules/")) : "") {
    const place = `${base === "" ? "" : `${base}/`}node_modules/${name}`;
    if (place in packages) return place;
    if (base === "") return null;
  }
}

test("the lock has every package that another one names, for every platform", () => {
  const missing = Object.entries(packages).flatMap(([path, entry]) =>
    Object.keys({ ...entry.dependencies, ...entry.optionalDependencies, ...entry.devDependencies })
      .filter((name) => placeOf(name, path) === null)
      .map((name) => `${name}, named by ${path || "package.json"}`),
  );
  expect(missing).toEqual([]);
});

test("the lock names no registry's host", () => {
  expect(Object.values(packages).flatMap((entry) => entry.resolved ?? [])).toEqual([]);
});
