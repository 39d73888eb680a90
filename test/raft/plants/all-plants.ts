// Owns the list of all planted bugs.

import { CORE_PLANTS } from "./core-plants.ts";
import { MEMBER_PLANTS } from "./member-plants.ts";
import type { Plant } from "./plant.ts";

export const PLANTS: readonly Plant[] = [...CORE_PLANTS, ...MEMBER_PLANTS];
