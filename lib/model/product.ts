// Owns the names and versions that the product shows to the outside.

/** The Patroni version that this product is compatible with: published in the member key, /patroni and patroni_version. */
export const COMPATIBLE_PATRONI_VERSION = "4.1.5";

export const PRODUCT_NAME = "Matriarch";
export const PRODUCT_VERSION = "0.1.0";
/** The executable's name. */
export const PRODUCT_COMMAND = "matriarch";

/** What `--version` prints. */
export function versionLine(): string {
  return `${PRODUCT_NAME} ${PRODUCT_VERSION} (compatible with Patroni ${COMPATIBLE_PATRONI_VERSION})`;
}
