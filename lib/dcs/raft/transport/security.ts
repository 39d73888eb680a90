// Owns what protects the connections of members and clients, as the configuration names it. Knows no connection.

/**
 * - `plain`: nothing; for loopback, or where the operator said `insecure`.
 * - `password`: every connection proves the shared password on both sides and is encrypted (session-keys.ts).
 * - `tls`: mutual TLS; both sides show a certificate of the same authority, and whoever connects also checks the name. The
 *   files are read anew for new connections. The network (tcp-network.ts) does it; frames travel inside as they are.
 */
export type Security =
  | { readonly kind: "plain" }
  | { readonly kind: "password"; readonly password: string }
  | {
      readonly kind: "tls";
      readonly caFile: string;
      readonly certFile: string;
      readonly keyFile: string;
      /** Null where the key is not encrypted. */
      readonly keyPassword: string | null;
    };
