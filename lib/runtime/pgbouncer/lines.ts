// Owns what PgBouncer's database lines say: where the leader is, the text of the lines, and what a text of them names. Pure.

import { addressIn } from "../../core/facts.ts";
import { type Cluster, leaderMember } from "../../model/cluster.ts";
import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import { err, ok, type Result } from "../../model/result.ts";

/** The member that clients are to reach. */
export interface Target {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/** One line of the file. */
export interface PoolLine {
  /** `*`: every database without a line of its own. */
  readonly name: string;
  /** Where it leads; null where the line does not say it plainly. */
  readonly host: string | null;
  readonly port: number | null;
}

/** What stands for every database without a line of its own. */
export const ANY_DATABASE = "*";

/** Members write their own addresses: one that could end a value and begin another goes into no file. */
const PLAIN_VALUE = /^[A-Za-z0-9_.:%-]+$/;
const LINE = /^[ \t]*("(?:[^"]|"")*"|[^\s="';#[%]+)[ \t]*=[ \t]*(.*)$/;

/**
 * The leader once it serves as such; null while nobody does. Who holds the lock but is not promoted yet is no target: whoever is sent
 * there would meet a standby.
 */
export function targetOf(cluster: Cluster): Target | null {
  const member = leaderMember(cluster);
  if (member === null || member.connUrl === null || member.state !== "running") return null;
  if (member.role !== "primary" && member.role !== "standby_leader") return null;
  const address = addressIn(member.connUrl);
  return address === null ? null : { name: member.name, ...address };
}

/** The text of the file. The error says which value of the target cannot stand in it. */
export function databaseLines(config: Pick<PgbouncerConfig, "databases" | "template">, target: Target): Result<string, string> {
  for (const value of [target.name, target.host]) {
    if (!PLAIN_VALUE.test(value)) return err(`${JSON.stringify(value)} cannot stand in PgBouncer's file`);
  }
  const own = config.databases.map((name) => {
    const dbname = name === ANY_DATABASE ? "" : ` dbname='${name.replaceAll("'", "''")}'`;
    return `${quotedName(name)} = host={host} port={port}${dbname}`;
  });
  const values: Readonly<Record<string, string>> = { host: target.host, port: String(target.port), leader: target.name };
  const body = (config.template ?? own.join("\n")).replace(/\{(host|port|leader)\}/g, (_, word: string) => values[word] ?? "");
  return ok(`;; Written by matriarch: changes here are lost.\n[databases]\n${body.trimEnd()}\n`);
}

/** The databases that follow the leader, as PgBouncer's console takes their names; null = all that it has. */
export function followers(config: Pick<PgbouncerConfig, "databases" | "template">): readonly string[] | null {
  const text = config.template ?? config.databases.map((name) => `${quotedName(name)} = {host}`).join("\n");
  const names = namedLines(text).filter(({ rest }) => rest.includes("{host}"));
  return names.some(({ name }) => name === ANY_DATABASE) ? null : names.map(({ name }) => quotedName(name));
}

/** What the lines of a text say. */
export function linesIn(text: string): readonly PoolLine[] {
  return namedLines(text).map(({ name, rest }) => {
    const port = plainValue(rest, "port");
    return { name, host: plainValue(rest, "host"), port: port === null ? null : Number(port) };
  });
}

/** As SQL writes an identifier; PgBouncer reads its file and its console's commands alike. */
export function quotedName(name: string): string {
  return /^[A-Za-z0-9_]+$/.test(name) || name === ANY_DATABASE ? name : `"${name.replaceAll('"', '""')}"`;
}

function namedLines(text: string): readonly { readonly name: string; readonly rest: string }[] {
  return text.split("\n").flatMap((line) => {
    const match = LINE.exec(line);
    const [, name, rest] = match ?? [];
    if (name === undefined || rest === undefined) return [];
    return [{ name: name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name, rest }];
  });
}

function plainValue(rest: string, key: string): string | null {
  const value = new RegExp(`(?:^|\\s)${key}\\s*=\\s*('[^']*'|[^\\s']+)`).exec(rest)?.[1];
  return value === undefined ? null : value.replace(/^'(.*)'$/, "$1");
}
