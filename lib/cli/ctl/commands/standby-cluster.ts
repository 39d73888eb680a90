// Owns the two commands that turn a cluster into a standby cluster and back: known by name, not there yet. They are not
// shown in the help.

import type { Command } from "commander";
import type { CommandHost } from "../program.ts";
import { CtlRefusal } from "../refusal.ts";

export function addStandbyCluster({ program }: CommandHost): void {
  for (const name of ["demote-cluster", "promote-cluster"]) {
    program
      .command(`${name} [words...]`, { hidden: true })
      .allowUnknownOption()
      .exitOverride()
      .action((_words: readonly string[], _flags: unknown, _self: Command) => {
        throw new CtlRefusal(`${name} is not there yet: this product does not run standby clusters so far; nothing was changed`);
      });
  }
}
