// Owns what a planted bug is, and how it is put into a tree. Touches no file.

/** One change of one file; `find` stands there exactly once. */
export interface Patch {
  /** Path from the top of the tree. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Plant extends Patch {
  readonly name: string;
  readonly what: string;
  readonly also?: readonly Patch[];
  /** Where it is searched for; default `core`. */
  readonly level?: "core" | "whole";
  /** Scenario file (test/raft/scenarios) that finds it where random search would take more than a minute. */
  readonly scenario?: string;
}

export function patchesOf(plant: Plant): readonly Patch[] {
  return [plant, ...(plant.also ?? [])];
}

/** How often the text stands in the source. */
export function occurrences(source: string, find: string): number {
  return source.split(find).length - 1;
}

/** The source with the change. Throws Error unless what it replaces stands there exactly once. */
export function patched(source: string, patch: Patch): string {
  const count = occurrences(source, patch.find);
  if (count !== 1) throw new Error(`${patch.file}: what is to be replaced stands there ${count} times:\n${patch.find}`);
  return source.replace(patch.find, () => patch.replace);
}
