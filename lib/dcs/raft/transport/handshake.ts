// Owns the order of a handshake and its rules, for both sides. Bytes in, frames out; no clock, no connection.
//
//   initiator                       responder
//   OPEN                       →                      clear text; both OPENs are the salt of the connection's keys
//                              ←    OPEN
//   CONFIRM, [HELLO]           →                      with a password alone: CONFIRM proves it, [sealed] from here on
//                              ←    CONFIRM, [HELLO]  only after the initiator's proof: nobody gets a proof by asking
// Without a password there is no CONFIRM and the initiator's HELLO follows its OPEN at once. Over TLS the same travels
// inside; a client of TLS 1.3 believes in a connection before the server has looked at its certificate, so only the HELLO counts.

import { copyOf } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { type Farewell, FRAME_HEAD_BYTES, readFrame } from "./frame.ts";
import { type HandshakeFrame, type HelloAnswer, PROTOCOL_VERSION, type Role, readHandshakeFrame, writeHandshakeFrame } from "./hello.ts";
import type { Security } from "./security.ts";
import { isProof, type SessionKeys, sessionKeys } from "./session-keys.ts";

export interface HandshakeOptions {
  readonly protection: Security["kind"];
  /** The stretched password; null unless protected by one. */
  readonly stretched: Uint8Array | null;
  readonly nonce: Uint8Array;
  /** Of the initiator: as it dialled. Of the responder: as it advertises. */
  readonly address: string;
  /** Null: a client, which is nobody. */
  readonly hello: HelloAnswer | null;
  /** Only the initiator's matters; the responder takes what it is told. */
  readonly role: Role;
  /** The last word on who the other side says to be. Null: welcome. */
  readonly judge: (hello: HelloAnswer | null, role: Role) => Refused | null;
}

/** The connection does not come about; `text` says why, about the other side ("it …"). */
export interface Refused {
  readonly kind: "refused";
  /** What the other side is told; null: it was the other side that said farewell. */
  readonly farewell: Farewell | null;
  readonly text: string;
}

export type HandshakeStep =
  | { readonly kind: "more" }
  | { readonly kind: "done"; readonly role: Role; readonly hello: HelloAnswer | null }
  | Refused;

/** What a handshake does to its connection, in this order. */
export interface HandshakeOutput {
  /** Whole frames, with their heads. */
  write(frames: Uint8Array): void;
  /** Everything written from now on is sealed. */
  seal(key: Uint8Array): void;
  /** Everything received from now on is sealed. */
  open(key: Uint8Array): void;
}

const MORE: HandshakeStep = { kind: "more" };

export class Handshake {
  readonly #side: "initiator" | "responder";
  readonly #options: HandshakeOptions;
  readonly #output: HandshakeOutput;
  #wanted: "open" | "confirm" | "hello" = "open";
  #role: Role;
  #ownOpen: Uint8Array | null = null;
  #keys: SessionKeys | null = null;

  constructor(side: "initiator" | "responder", options: HandshakeOptions, output: HandshakeOutput) {
    this.#side = side;
    this.#options = options;
    this.#output = output;
    this.#role = options.role;
    if (side === "initiator") {
      this.#writeOpen();
      if (options.stretched === null) this.#write({ kind: "hello", hello: options.hello });
    }
  }

  /** One frame without its head. */
  receive(bytes: Uint8Array, start: number, end: number): HandshakeStep {
    const frame = readHandshakeFrame(bytes, start, end);
    if (frame === null) return readFarewell(bytes, start, end) ?? refused("protocol", "it does not speak this protocol");
    if (frame.kind === "other-version") {
      return refused("version", `it speaks version ${frame.version} of the protocol, this side version ${PROTOCOL_VERSION}`);
    }
    if (frame.kind !== this.#wanted)
      return refused("protocol", `it sent ${frame.kind.toUpperCase()} where ${this.#wanted.toUpperCase()} belongs`);
    switch (frame.kind) {
      case "open":
        return this.#onOpen(frame, copyOf(bytes, start, end));
      case "confirm":
        return this.#onConfirm(frame.proof);
      case "hello":
        return this.#onHello(frame.hello);
    }
  }

  #onOpen(open: HandshakeFrame & { readonly kind: "open" }, otherOpen: Uint8Array): HandshakeStep {
    const { protection, stretched } = this.#options;
    if (open.protection !== protection) {
      return refused("security", `it uses ${PROTECTION_TEXT[open.protection]}, this side ${PROTECTION_TEXT[protection]}`);
    }
    if (this.#side === "responder") {
      this.#role = open.role;
      this.#writeOpen();
    }
    this.#wanted = "hello";
    if (stretched === null) return MORE;
    const ownOpen = this.#ownOpen as Uint8Array;
    this.#keys = sessionKeys(
      stretched,
      this.#side === "initiator" ? { initiator: ownOpen, responder: otherOpen } : { initiator: otherOpen, responder: ownOpen },
    );
    this.#wanted = "confirm";
    if (this.#side === "initiator") this.#prove(this.#keys);
    return MORE;
  }

  #onConfirm(proof: Uint8Array): HandshakeStep {
    const keys = this.#keys as SessionKeys;
    const other = this.#side === "initiator" ? keys.responder : keys.initiator;
    if (!isProof(other.proof, proof)) return refused("password", "it does not know the password");
    this.#output.open(other.sealing);
    this.#wanted = "hello";
    return MORE;
  }

  #onHello(hello: HelloAnswer | null): HandshakeStep {
    const expected = this.#side === "initiator" || this.#role !== "client" ? "member" : "client";
    if ((hello === null) !== (expected === "client")) return refused("protocol", `it is no ${expected}`);
    const judged = this.#options.judge(hello, this.#role);
    if (judged !== null) return judged;
    if (this.#side === "responder") {
      if (this.#keys !== null) this.#prove(this.#keys);
      else this.#write({ kind: "hello", hello: this.#options.hello });
    }
    return { kind: "done", role: this.#role, hello };
  }

  /** CONFIRM, and behind it the sealed HELLO. */
  #prove(keys: SessionKeys): void {
    const own = this.#side === "initiator" ? keys.initiator : keys.responder;
    this.#write({ kind: "confirm", proof: own.proof });
    this.#output.seal(own.sealing);
    this.#write({ kind: "hello", hello: this.#options.hello });
  }

  #writeOpen(): void {
    const { protection, nonce, address } = this.#options;
    const written = this.#write({ kind: "open", version: PROTOCOL_VERSION, protection, role: this.#role, nonce, address });
    this.#ownOpen = copyOf(written, FRAME_HEAD_BYTES);
  }

  #write(frame: Parameters<typeof writeHandshakeFrame>[1]): Uint8Array {
    const writer = new ByteWriter();
    writeHandshakeFrame(writer, frame);
    this.#output.write(writer.written());
    return writer.written();
  }
}

const PROTECTION_TEXT: Readonly<Record<Security["kind"], string>> = {
  plain: "no protection",
  password: "a password",
  tls: "TLS",
};

/** What somebody's farewell means to the one who reads it. */
export const FAREWELL_TEXT: Readonly<Record<Farewell, string>> = {
  protocol: "it did not understand what was sent",
  version: "it speaks another version of the protocol",
  security: "it is protected in another way (password, TLS or nothing)",
  password: "it has another password",
  full: "it has too many connections",
  "other-cluster": "it belongs to another cluster",
  "other-member": "it expected another member at this address",
  superseded: "it has a newer connection",
  "too-much": "too many requests were waiting",
  silent: "it heard nothing for too long",
};

function readFarewell(bytes: Uint8Array, start: number, end: number): Refused | null {
  const frame = readFrame(bytes, start, end);
  return frame?.kind === "farewell" ? refused(null, FAREWELL_TEXT[frame.reason]) : null;
}

function refused(farewell: Farewell | null, text: string): Refused {
  return { kind: "refused", farewell, text };
}
