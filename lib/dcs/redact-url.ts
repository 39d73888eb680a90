// Owns covering what is secret in the URL of a store, so that it can stand in a log or an error.

/** The text with its tokens and passwords covered. */
export function redactUrl(text: string): string {
  return text.replaceAll(/([?&](?:token|password)=)[^&#\s]*/gi, "$1***").replaceAll(/\/\/[^/@\s]*@/g, "//***@");
}
