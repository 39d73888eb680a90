// Owns the JSON form of members and configurations in the identity and in the headers of snapshots, readable by a person
// who looks into the folder. Valibot checks it where it is read.

import * as v from "valibot";
import {
  type LogIndex,
  logIndex,
  type MemberId,
  memberId,
  type RaftClusterId,
  raftClusterId,
  type Term,
  term,
} from "../../../model/raft.ts";

/** More than nine voters, their predecessors and learners never stand in one configuration; 1 KiB bounds an address. */
const MEMBERS_MAX = 64;
const ADDRESS_BYTES_MAX = 1024;

const UnsignedSchema = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
export const AddressSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(ADDRESS_BYTES_MAX));

export const MemberIdSchema = v.pipe(
  v.string(),
  v.check((text) => memberId(text) !== null, "not a member id"),
  v.transform((text) => text as MemberId),
);

export const ClusterIdSchema = v.pipe(
  v.string(),
  v.check((text) => raftClusterId(text) !== null, "not a cluster id"),
  v.transform((text) => text as RaftClusterId),
);

export const LogIndexSchema = v.pipe(
  UnsignedSchema,
  v.transform((value): LogIndex => logIndex(value)),
);

export const TermSchema = v.pipe(
  UnsignedSchema,
  v.transform((value): Term => term(value)),
);

export const RaftMemberSchema = v.object({ id: MemberIdSchema, address: AddressSchema });

const LearnerSchema = v.object({ ...RaftMemberSchema.entries, replaces: v.nullable(MemberIdSchema) });

export const MembersSchema = v.pipe(v.array(RaftMemberSchema), v.maxLength(MEMBERS_MAX));

export const ConfigurationSchema = v.object({
  voters: MembersSchema,
  outgoing: v.nullable(MembersSchema),
  learners: v.pipe(v.array(LearnerSchema), v.maxLength(MEMBERS_MAX)),
});

/** The text as JSON that fits the schema; null where it does not. */
export function parseJson<T>(schema: v.BaseSchema<unknown, T, v.BaseIssue<unknown>>, text: string): T | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const parsed = v.safeParse(schema, value);
  return parsed.success ? parsed.output : null;
}
