// Owns the words of access to the REST API: the roles that a token may have, and which reading paths an operator may close.
// What each role may do is lib/api's.

/** Each may do all that the ones before it may. */
export const TOKEN_ROLES = ["read", "operate", "admin"] as const;
export type TokenRole = (typeof TOKEN_ROLES)[number];

/** Not the health paths and `/patroni`: load balancers and the other members ask them, and a race for the lock hangs on the answer. */
export const PROTECTABLE_PATHS = [
  "/backups",
  "/cluster",
  "/config",
  "/events",
  "/explain",
  "/history",
  "/metrics",
  "/openapi.json",
] as const;
export type ProtectablePath = (typeof PROTECTABLE_PATHS)[number];

/** A secret with a name and a role, shown as `Authorization: Bearer TOKEN`. */
export interface ApiToken {
  readonly name: string;
  readonly role: TokenRole;
  readonly token: string;
}

export function isProtectable(path: string): path is ProtectablePath {
  return PROTECTABLE_PATHS.some((known) => known === path);
}

/** Whether a token of the role `has` may do what needs `needed`. */
export function roleCovers(has: TokenRole, needed: TokenRole): boolean {
  return TOKEN_ROLES.indexOf(has) >= TOKEN_ROLES.indexOf(needed);
}
