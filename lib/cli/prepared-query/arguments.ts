// Owns what the words of `prepared-query` mean: which queries, of which service, how. Asks nobody.

import { InvalidArgumentError } from "commander";
import type { WantedQuery } from "../../dcs/consul/prepared-query.ts";
import { serviceName } from "../../dcs/consul/service-entry.ts";

export const QUERY_ROLES = ["writer", "reader"] as const;
export type QueryRole = (typeof QUERY_ROLES)[number];

/** Of the registered service (docs/service-discovery.md). */
const TAGS: Readonly<Record<QueryRole, readonly string[]>> = { writer: ["primary"], reader: ["replica"] };

export interface QueryFlags {
  readonly service?: string;
  readonly prefix?: string;
  readonly near: string;
  readonly nearest: number;
  readonly datacenters?: readonly string[];
  readonly dnsTtl: string;
  readonly writerTags?: readonly string[];
  readonly readerTags?: readonly string[];
}

/** Null where neither a service is named nor a configuration gives a scope. */
export function serviceOf(flags: QueryFlags, scope: string | null): string | null {
  return flags.service ?? (scope === null ? null : serviceName(scope));
}

export function queryName(role: QueryRole, flags: QueryFlags, service: string): string {
  return `${flags.prefix ?? service}-${role}`;
}

export function wantedQuery(role: QueryRole, flags: QueryFlags, service: string): WantedQuery {
  const tags = role === "writer" ? flags.writerTags : flags.readerTags;
  return {
    name: queryName(role, flags, service),
    service,
    tags: tags ?? TAGS[role],
    near: flags.near,
    failover: { nearestN: flags.nearest, datacenters: flags.datacenters ?? [] },
    dnsTtl: flags.dnsTtl,
  };
}

export function readRoles(words: readonly string[]): readonly QueryRole[] {
  const unknown = words.find((word) => !QUERY_ROLES.some((role) => role === word));
  if (unknown !== undefined) throw new InvalidArgumentError(`there is no query ${unknown}; write ${QUERY_ROLES.join(" or ")}`);
  return words.length === 0 ? QUERY_ROLES : QUERY_ROLES.filter((role) => words.includes(role));
}

export function readList(text: string): readonly string[] {
  const words = text.split(",").map((word) => word.trim());
  if (words.some((word) => word === "")) throw new InvalidArgumentError("write words with commas between them");
  return words;
}

export function readDnsTtl(text: string): string {
  if (!/^\d+(ms|s|m|h)$/.test(text)) throw new InvalidArgumentError("write a duration with its unit, e.g. 0s");
  return text;
}

export function readCount(text: string): number {
  if (!/^\d{1,3}$/.test(text)) throw new InvalidArgumentError("write a whole number");
  return Number(text);
}
