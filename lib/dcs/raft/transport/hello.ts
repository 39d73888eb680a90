// Owns the frames of the handshake as bytes: OPEN (in clear text: version, protection, role, nonce, address), CONFIRM (the
// proof of the password) and HELLO (who somebody is). Which comes when is in handshake.ts.

import { type MemberId, memberId, type RaftClusterId, raftClusterId } from "../../../model/raft.ts";
import { assertNever } from "../../../model/result.ts";
import { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { endFrame, HANDSHAKE_FRAME_MAX_BYTES } from "./frame.ts";
import type { Security } from "./security.ts";

/** Grows with each change that an older side would misread. The layout of OPEN up to the version never changes. */
export const PROTOCOL_VERSION = 2;
export const NONCE_BYTES = 32;
export const PROOF_BYTES = 32;
const MAGIC = 0x4d_52_46_54;
const IDENTITY_BYTES = 16;
/** Of addresses in a HELLO: nine members and as many newcomers. */
const LIST_MAX = 18;
const ADDRESS_MAX_BYTES = 270;

/** What a connection is for. `link`: members exchange frames. `ask`: only the HELLO is wanted. `client`: requests. */
export type Role = (typeof ROLES)[number];
const ROLES = ["link", "ask", "client"] as const;
const PROTECTIONS = ["plain", "password", "tls"] as const satisfies readonly Security["kind"][];
const STATES = ["empty", "promised", "member"] as const;

/** Who a member is, as its HELLO says. */
export interface TransportIdentity {
  readonly memberId: MemberId;
  /** Null: belongs to no cluster yet. */
  readonly clusterId: RaftClusterId | null;
  /** Advertised `host:port`. */
  readonly address: string;
  /** Addresses of the initial list (self_addr and partner_addrs), sorted. */
  readonly list: readonly string[];
  readonly state: (typeof STATES)[number];
}

export interface HelloAnswer extends TransportIdentity {
  /** Random for each start of the member's process: two connections with one run come from one process. */
  readonly run: string;
}

export type HandshakeFrame =
  | {
      readonly kind: "open";
      readonly version: number;
      readonly protection: Security["kind"];
      readonly role: Role;
      readonly nonce: Uint8Array;
      /** As it was dialled; the answering side's OPEN has its own. */
      readonly address: string;
    }
  /** An OPEN of another version: nothing behind the version can be read. */
  | { readonly kind: "other-version"; readonly version: number }
  | { readonly kind: "confirm"; readonly proof: Uint8Array }
  /** Null from a client, which is nobody. */
  | { readonly kind: "hello"; readonly hello: HelloAnswer | null };

const KIND = { open: 1, confirm: 2, hello: 3 } as const;

/** Appends one frame of the handshake. Throws RangeError where it is too long (more than LIST_MAX addresses, long names). */
export function writeHandshakeFrame(writer: ByteWriter, frame: Exclude<HandshakeFrame, { readonly kind: "other-version" }>): void {
  const start = writer.length;
  writer.u32(0);
  writer.u8(KIND[frame.kind]);
  switch (frame.kind) {
    case "open":
      writer.u32(MAGIC);
      writer.u16(frame.version);
      writer.u8(PROTECTIONS.indexOf(frame.protection));
      writer.u8(ROLES.indexOf(frame.role));
      writer.bytes(frame.nonce);
      writer.shortText(frame.address);
      break;
    case "confirm":
      writer.bytes(frame.proof);
      break;
    case "hello":
      writeHello(writer, frame.hello);
      break;
    default:
      assertNever(frame);
  }
  endFrame(writer, start, HANDSHAKE_FRAME_MAX_BYTES);
}

/** Null unless the bytes from `start` to `end` are exactly one frame of the handshake. */
export function readHandshakeFrame(bytes: Uint8Array, start: number, end: number): HandshakeFrame | null {
  const reader = new ByteReader(bytes, start, end);
  const frame = readKind(reader);
  if (frame?.kind === "other-version") return reader.failed ? null : frame;
  return reader.complete ? frame : null;
}

function readKind(reader: ByteReader): HandshakeFrame | null {
  switch (reader.u8()) {
    case KIND.open:
      return readOpen(reader);
    case KIND.confirm:
      return { kind: "confirm", proof: reader.copy(PROOF_BYTES) };
    case KIND.hello:
      return { kind: "hello", hello: readHello(reader) };
    default:
      return null;
  }
}

function readOpen(reader: ByteReader): HandshakeFrame {
  if (reader.u32() !== MAGIC) reader.reject();
  const version = reader.u16();
  if (version !== PROTOCOL_VERSION) return { kind: "other-version", version };
  const [protection, role] = [reader.word(PROTECTIONS), reader.word(ROLES)];
  return { kind: "open", version, protection, role, nonce: reader.copy(NONCE_BYTES), address: readAddress(reader) };
}

function writeHello(writer: ByteWriter, hello: HelloAnswer | null): void {
  writer.u8(hello === null ? 0 : 1);
  if (hello === null) return;
  if (hello.list.length > LIST_MAX) throw new RangeError(`a list of ${hello.list.length} members; at most ${LIST_MAX} are allowed`);
  writer.hex(hello.memberId);
  writer.u8(hello.clusterId === null ? 0 : 1);
  if (hello.clusterId !== null) writer.hex(hello.clusterId);
  writer.hex(hello.run);
  writer.u8(STATES.indexOf(hello.state));
  writer.shortText(hello.address);
  writer.u8(hello.list.length);
  for (const address of hello.list) writer.shortText(address);
}

function readHello(reader: ByteReader): HelloAnswer | null {
  if (!reader.flag()) return null;
  const id = memberId(reader.hex(IDENTITY_BYTES));
  const clusterId = reader.flag() ? raftClusterId(reader.hex(IDENTITY_BYTES)) : null;
  const run = reader.hex(IDENTITY_BYTES);
  const state = reader.word(STATES);
  const address = readAddress(reader);
  const count = reader.u8();
  if (count > LIST_MAX) reader.reject();
  const list: string[] = [];
  for (let place = 0; place < count && !reader.failed; place++) list.push(readAddress(reader));
  return id === null || reader.failed ? null : { memberId: id, clusterId, address, list, state, run };
}

/** Addresses of others stand in log lines and tables: nothing that could forge a line gets in. */
function readAddress(reader: ByteReader): string {
  const address = reader.shortText();
  if (address.length > ADDRESS_MAX_BYTES || !/^[\x21-\x7e]*$/.test(address)) reader.reject();
  return address;
}
