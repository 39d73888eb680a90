// Owns the cryptography of a connection that is protected by the shared password: the keys of the connection, the proof
// that a side knows the password, and sealing. Knows no frame and no connection.
//
// The password is stretched once (PBKDF2), so that whoever overhears a handshake pays for each guess. Each connection has keys
// of its own: HKDF of the stretched password, salted with the hash of both OPEN frames, which hold both nonces, the
// version, the role and the addresses. Each direction has its own key for sealing and its own for the proof, so nothing can be
// sent back to who said it. The proof is an HMAC of its own: AES-GCM alone does not commit to one key, and one sealed text that
// opens under many guessed passwords would tell an attacker many guesses at once.
// Sources: RFC 5869 (HKDF), NIST SP 800-38D (GCM), Len, Grubbs, Ristenpart, "Partitioning Oracle Attacks" (2021).

import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, pbkdf2Sync, timingSafeEqual } from "node:crypto";

const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
/** What sealing adds to a text. */
export const TAG_BYTES = 16;
/** About 50 ms once for each process; see above. */
const STRETCH_ROUNDS = 200_000;
const STRETCH_SALT = "matriarch raft password";
/** One key seals at most so many records and bytes: 2^32 blocks leave a distinguisher less than 2^-60 (SP 800-38D; RFC 8446, 5.5). */
const RECORDS_PER_KEY = 2 ** 24;
const BYTES_PER_KEY = 2 ** 36;

/** Throws RangeError for an empty password, which would protect nothing. */
export function stretchPassword(password: string): Uint8Array {
  if (password === "") throw new RangeError("the password is empty");
  return pbkdf2Sync(password, STRETCH_SALT, STRETCH_ROUNDS, KEY_BYTES, "sha256");
}

/** Of one connection. The initiator is who connected. */
export interface SessionKeys {
  readonly initiator: DirectionKeys;
  readonly responder: DirectionKeys;
}

export interface DirectionKeys {
  readonly sealing: Uint8Array;
  /** What this side sends to prove that it knows the password. */
  readonly proof: Uint8Array;
}

/** Both OPEN frames as they travelled, whole. */
export function sessionKeys(stretched: Uint8Array, open: { readonly initiator: Uint8Array; readonly responder: Uint8Array }): SessionKeys {
  const transcript = createHash("sha256").update(hash(open.initiator)).update(hash(open.responder)).digest();
  const key = (label: string) => new Uint8Array(hkdfSync("sha256", stretched, transcript, `matriarch raft ${label}`, KEY_BYTES));
  const direction = (side: string): DirectionKeys => ({
    sealing: key(`${side} sealing`),
    proof: createHmac("sha256", key(`${side} proof`))
      .update(transcript)
      .digest(),
  });
  return { initiator: direction("initiator"), responder: direction("responder") };
}

/** In constant time. */
export function isProof(expected: Uint8Array, given: Uint8Array): boolean {
  return expected.length === given.length && timingSafeEqual(expected, given);
}

/** One direction of a connection, either its sealing or its opening end: both count alike, so nothing but the text travels. */
export class Sealing {
  #key: Uint8Array;
  #records = 0;
  #bytes = 0;
  readonly #nonce = new Uint8Array(NONCE_BYTES);
  readonly #counter = new DataView(this.#nonce.buffer);

  readonly #recordsPerKey: number;

  constructor(key: Uint8Array, recordsPerKey = RECORDS_PER_KEY) {
    this.#key = key;
    this.#recordsPerKey = recordsPerKey;
  }

  /** Writes text and tag at the start of `into` (text.length + TAG_BYTES long). `head` travels in clear text beside it and is bound to it. */
  seal(text: Uint8Array, head: Uint8Array, into: Uint8Array): void {
    this.#advance(text.length);
    const cipher = createCipheriv(CIPHER, this.#key, this.#nonce);
    cipher.setAAD(head);
    into.set(cipher.update(text));
    into.set(cipher.final(), text.length);
    into.set(cipher.getAuthTag(), text.length);
  }

  /** Null where it was not sealed as the next record of this direction: altered, repeated, left out, or by somebody else. */
  open(sealed: Uint8Array, head: Uint8Array): Uint8Array | null {
    const length = sealed.length - TAG_BYTES;
    if (length < 0) return null;
    this.#advance(length);
    const decipher = createDecipheriv(CIPHER, this.#key, this.#nonce);
    decipher.setAAD(head);
    decipher.setAuthTag(sealed.subarray(length));
    try {
      const text = decipher.update(sealed.subarray(0, length));
      decipher.final();
      return text;
    } catch {
      // `final` throws for exactly one reason: the tag does not fit.
      return null;
    }
  }

  #advance(bytes: number): void {
    if (this.#records === this.#recordsPerKey || this.#bytes > BYTES_PER_KEY) {
      this.#key = new Uint8Array(hkdfSync("sha256", this.#key, "", "matriarch raft next key", KEY_BYTES));
      this.#records = 0;
      this.#bytes = 0;
    }
    this.#counter.setUint32(NONCE_BYTES - 4, ++this.#records, false);
    this.#bytes += bytes;
  }
}

function hash(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
