// Owns the rules of the `pgbouncer` section: what must be there, and what contradicts itself. Judges single values nowhere; touches
// no file.

import { isAbsolute } from "node:path";
import type { ConfigFault } from "../model/errors.ts";
import type { PgbouncerTree } from "./schema-node.ts";

/** What to write where the section is missing. */
export const PGBOUNCER_LINE =
  "write pgbouncer: {host: 127.0.0.1, port: 6432, username: matriarch, password: SECRET, databases: [app], databases_file: /etc/pgbouncer/databases.ini}";

/** More lines than anybody keeps by hand; a pool for each database beyond is what `*` is for. */
const DATABASES_MAX = 500;
const TEMPLATE_MAX_CHARS = 64 * 1024;

export function pgbouncerFaults(tree: PgbouncerTree): readonly ConfigFault[] {
  const faults: ConfigFault[] = [];
  const wrong = (option: string, message: string) => faults.push({ path: `pgbouncer.${option}`, message });
  const { databases, template, users } = tree;
  if (tree.name?.includes("/")) wrong("name", "holds a slash; write name: POOLER, unique in the cluster");
  if (tree.databases_file === null) wrong("databases_file", "missing; write databases_file: /etc/pgbouncer/databases.ini");
  else if (!isAbsolute(tree.databases_file)) wrong("databases_file", "not the path of a file; write it from / on");
  if (databases.length === 0 && template === null) wrong("databases", "missing; write databases: [app], or a template");
  if (databases.length > 0 && template !== null) wrong("template", "databases is set too; write one of them");
  if (databases.length > DATABASES_MAX) wrong("databases", `more than ${DATABASES_MAX}; write '*' for all the others`);
  if (databases.some((name) => /[\r\n\0]/.test(name))) wrong("databases", "a name holds more than one line");
  if (new Set(databases).size < databases.length) wrong("databases", "a name stands there twice");
  if (template !== null && !template.includes("{host}"))
    wrong("template", "no line of it holds {host}; write app = host={host} port={port}");
  if (template !== null && template.length > TEMPLATE_MAX_CHARS) wrong("template", `longer than ${TEMPLATE_MAX_CHARS} characters`);
  if (tree.pause_limit <= tree.pause_timeout) {
    wrong("pause_limit", `not longer than pause_timeout; write pause_limit: ${(3 * tree.pause_timeout) / 1000}`);
  }
  if (users === null) return faults;
  if (users.file === null) wrong("users.file", "missing; write file: /etc/pgbouncer/userlist.txt");
  else if (!isAbsolute(users.file)) wrong("users.file", "not the path of a file; write it from / on");
  if (users.username === null) wrong("users.username", "missing; write username: somebody who may read pg_shadow");
  return faults;
}
