// Owns what is made when it is first asked for, and once: most of all modules that a starting node does without.

import { err, ok, type Result } from "./result.ts";

/** Whoever asks shares one making. One that failed is not kept: a disk or a memory that was short for a moment would stand in the way for ever. */
export class Lazy<T> {
  readonly #make: () => Promise<T>;
  #made: Promise<T> | null = null;

  constructor(make: () => Promise<T>) {
    this.#make = make;
  }

  /** Rejects as the making does. */
  get(): Promise<T> {
    this.#made ??= this.#tried();
    return this.#made;
  }

  async #tried(): Promise<T> {
    try {
      return await this.#make();
    } catch (reason) {
      this.#made = null;
      throw reason;
    }
  }
}

/** Error: in words, why it could not be loaded; for whoever goes on without it. */
export async function loaded<T>(load: () => Promise<T>): Promise<Result<T, string>> {
  try {
    return ok(await load());
  } catch (reason) {
    return err(`a part of the program cannot be loaded: ${String(reason)}`);
  }
}
