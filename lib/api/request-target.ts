// Owns what a request asks for: whether its method changes nothing, its path and its query string.

export const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** The path without doubled leading and without trailing slashes, and the query string without `?`. */
export function splitUrl(url: string): { readonly path: string; readonly search: string } {
  const pathStart = pathStartOf(url);
  if (pathStart === -1) return { path: "/", search: "" };
  const mark = url.indexOf("?", pathStart);
  const path = mark === -1 ? url.slice(pathStart) : url.slice(pathStart, mark);
  const search = mark === -1 ? "" : url.slice(mark + 1).split("#", 1)[0];
  return { path: normalisePath(path), search: search ?? "" };
}

/** -1 where there is none. A client may name no host, as load balancers with HTTP/1.0 do, or one that no URL has: the path is what is left. */
export function pathStartOf(url: string): number {
  return url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
}

function normalisePath(path: string): string {
  if (path.length === 1 || (path.charCodeAt(path.length - 1) !== SLASH && path.charCodeAt(1) !== SLASH)) return path;
  return `/${path.replace(/^\/+|\/+$/g, "")}`;
}

const SLASH = 47;
