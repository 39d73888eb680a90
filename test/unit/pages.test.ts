// Goal: a reader who follows a link of the documentation arrives. Method: the links of every page, against the files and the headings
// that they name; and the README, against the pages that there are.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");
const pages = [
  "README.md",
  "CHANGELOG.md",
  ...readdirSync(join(root, "docs"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".md"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name))),
].sort();

/** What is no code: links in examples are no links. */
function proseOf(page: string): string {
  return readFileSync(join(root, page), "utf8")
    .replace(/^```[\s\S]*?^```/gm, "")
    .replace(/`[^`\n]*`/g, "code");
}

/** The ends of a page's links, as they are written. */
function linksOf(page: string): readonly string[] {
  return [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? "").filter((link) => !/^[a-z]+:/.test(link));
}

/** The names that a page's headings have in links. */
function anchorsOf(path: string): readonly string[] {
  const headings = readFileSync(path, "utf8")
    .replace(/^```[\s\S]*?^```/gm, "")
    .matchAll(/^#+ +(.+)$/gm);
  return [...headings].map((match) =>
    (match[1] ?? "")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replaceAll(" ", "-"),
  );
}

/** Null where the link leads somewhere. */
function brokenEnd(page: string, link: string): string | null {
  const [path = "", anchor] = link.split("#");
  const target = path === "" ? join(root, page) : join(root, dirname(page), path);
  if (!existsSync(target)) return `${page}: ${link}: there is no such file`;
  return anchor === undefined || anchorsOf(target).includes(anchor) ? null : `${page}: ${link}: there is no such heading`;
}

describe("the documentation", () => {
  test("has no link that leads nowhere", () => {
    const links = pages.flatMap((page) => linksOf(page).map((link) => [page, link] as const));
    expect(links.length).toBeGreaterThan(100);
    expect(links.map(([page, link]) => brokenEnd(page, link)).filter((broken) => broken !== null)).toEqual([]);
  });

  test("links each page from the README, and each decision from their list", () => {
    const linked = (from: string) => linksOf(from).map((link) => join(dirname(from), link.split("#")[0] ?? ""));
    const own = pages.filter((page) => dirname(page) === "docs");
    expect(own.filter((page) => !linked("README.md").includes(page))).toEqual([]);
    const decisions = pages.filter((page) => dirname(page) === "docs/adr" && page !== "docs/adr/README.md");
    expect(decisions.filter((page) => !linked("docs/adr/README.md").includes(page))).toEqual([]);
  });

  test("names no file of the tree that is not there, but in records of a day", () => {
    const lasting = pages.filter((page) => page !== "CHANGELOG.md" && dirname(page) !== "docs/evidence");
    const named = lasting.flatMap((page) =>
      [...readFileSync(join(root, page), "utf8").matchAll(/\b(?:docs|lib|test|scripts|workers)\/[\w./-]*\w\.(?:ts|md|sh)\b/g)].map(
        ([path]) => [page, path] as const,
      ),
    );
    expect(named.length).toBeGreaterThan(50);
    // NAME stands for any.
    expect(named.filter(([, path]) => !path.includes("NAME") && !existsSync(join(root, path)))).toEqual([]);
  });
});
