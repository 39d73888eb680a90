// Owns the file `identity`: who this member is, which cluster it belongs to, and what it promised while one was founded.
// One line of JSON and one with its checksum. Written as a whole or not at all.

import * as v from "valibot";
import type { MemberId, RaftClusterId, RaftMember } from "../../../model/raft.ts";
import type { Configuration } from "../core/types.ts";
import { crc32c } from "./crc32c.ts";
import type { Disk } from "./disk.ts";
import { AddressSchema, ClusterIdSchema, ConfigurationSchema, MemberIdSchema, MembersSchema, parseJson } from "./stored-configuration.ts";

export interface StoredIdentity {
  readonly memberId: MemberId;
  /** Null until the member belongs to a cluster. */
  readonly clusterId: RaftClusterId | null;
  /** `host:port`, as last advertised. */
  readonly address: string;
  /** The founding that this member promised to take part in; it promises nothing else. */
  readonly promise: { readonly clusterId: RaftClusterId; readonly members: readonly RaftMember[] } | null;
  /** The configuration at index 0 of the cluster that was founded; null where the member joined instead, or not yet. */
  readonly founding: Configuration | null;
}

export const IDENTITY_NAME = "identity";
const TEMPORARY = "identity.new";

const IdentitySchema = v.object({
  version: v.literal(1),
  memberId: MemberIdSchema,
  clusterId: v.nullable(ClusterIdSchema),
  address: AddressSchema,
  promise: v.nullable(v.object({ clusterId: ClusterIdSchema, members: MembersSchema })),
  founding: v.nullable(ConfigurationSchema),
});

export function encodeIdentity(identity: StoredIdentity): Uint8Array {
  const { memberId, clusterId, address, promise, founding } = identity;
  const line = `${JSON.stringify({ version: 1, memberId, clusterId, address, promise, founding })}\n`;
  return Buffer.from(`${line}crc32c ${checksum(Buffer.from(line))}\n`);
}

/** Null where the bytes are not what encodeIdentity writes. */
export function decodeIdentity(bytes: Uint8Array): StoredIdentity | null {
  const text = Buffer.from(bytes).toString("utf8");
  const parts = /^(.*\n)crc32c ([0-9a-f]{8})\n$/.exec(text);
  if (parts === null || checksum(Buffer.from(parts[1] as string)) !== parts[2]) return null;
  const parsed = parseJson(IdentitySchema, parts[1] as string);
  if (parsed === null) return null;
  const { version: _, ...identity } = parsed;
  return identity;
}

/** Durable when resolved. Rejects with DiskError; then the old identity stands. */
export async function writeIdentity(disk: Disk, identity: StoredIdentity): Promise<void> {
  const bytes = encodeIdentity(identity);
  if ((await disk.list()).includes(TEMPORARY)) await disk.remove(TEMPORARY);
  const file = await disk.create(TEMPORARY, bytes.length);
  try {
    await file.write(0, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(TEMPORARY, IDENTITY_NAME);
  await disk.syncFolder();
}

function checksum(bytes: Uint8Array): string {
  return crc32c(bytes).toString(16).padStart(8, "0");
}
