// Goal: where the quick reader of YAML reads something, the whole parser reads the same; and it reads what configurations look like.
// Method: texts put together from what YAML is made of, right and wrong, read by both.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { readPlainYaml } from "../../../lib/config/plain-yaml.ts";
import { sampleConfig } from "../../../lib/config/sample.ts";
import { parseYamlTree } from "../../../lib/config/yaml-text.ts";

/** Null where the quick reader leaves it; true where both read the same. */
function agree(text: string): boolean | null {
  const quick = readPlainYaml(text);
  if (quick === null) return null;
  const whole = parseYamlTree(text, "text");
  if (!whole.ok) throw new Error(`the whole parser refuses ${JSON.stringify(text)}: ${whole.error[0]?.message}`);
  expect(quick as unknown).toEqual(whole.value as unknown);
  return true;
}

const WORDS =
  "a b-c k.v on Off yes NO true False null ~ y n TRUE 0 10 -3 007 0x1f 1_000 1.5 .5 1e3 12:30 1:30:00 2024-01-02 9223372036854775807".split(
    " ",
  );
const TEXTS =
  "127.0.0.1 127.0.0.1:5432 1.2.3.4/24 16MB 30s 5min 100% 10d 1k /var/lib/x -x --x a:b http://h:8/p test ! -f /w/%f && cp %p x#y x #y 'it''s' \"q\\\"\\n\" \"\\x41\" '' \"\" 'a: b' !!str &a *a | > @ ` % {} [] [a,b] [a, 'b', 1] {a: 1} {a: 1, b: [on, x y]} {a:1} [a:80, 1.2.3.4:80] [a, ] {a} 'open [open host all all 127.0.0.1/32 trust".split(
    /(?<=\S) (?=\S)/,
  );
const piece = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom("a", "on", "null", "10", "127.0.0.1:5432", "/var/lib/x", "'it''s'", "[a, 'b', 1]", "{a: 1, b: [on, x y]}"),
  },
  { weight: 1, arbitrary: fc.constantFrom(...WORDS, ...TEXTS) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom(...WORDS, ...TEXTS), fc.constantFrom(...WORDS, ...TEXTS)).map((words) => words.join(" ")),
  },
);
const key = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom("a", "bb", "c_1", "d-e", "f.g", "h/i", "j") },
  { weight: 1, arbitrary: fc.constantFrom(...WORDS, "<<", "'a'", "1", "__proto__") },
);
const end = fc.oneof({ weight: 6, arbitrary: fc.constant("") }, { weight: 1, arbitrary: fc.constantFrom(" ", " # note", "#x") });

/** Lines without their indentation around them, as blocks are written; some of them are no YAML. */
const { block } = fc.letrec<{ block: string[]; mapping: string[]; list: string[]; value: string[] }>((tie) => ({
  block: fc.oneof({ depthSize: "small" }, tie("mapping"), tie("list")),
  value: fc.oneof(
    { depthSize: "small" },
    fc.tuple(piece, end).map(([text, rest]) => [` ${text}${rest}`]),
    end.map((rest) => [rest]),
    tie("block"),
  ),
  mapping: fc
    .array(fc.tuple(key, fc.constantFrom(2, 2, 4, 0), tie("value")), { minLength: 1, maxLength: 3 })
    .map((entries) => entries.flatMap(([name, by, value]) => below(`${name}:`, by, value))),
  list: fc
    .array(fc.tuple(fc.constantFrom("behind", "below"), tie("value")), { minLength: 1, maxLength: 3 })
    .map((items) => items.flatMap(([where, value]) => (where === "below" ? below("-", 2, value) : behind(value)))),
}));

function below(head: string, by: number, [first = "", ...rest]: string[]): string[] {
  if (first === "" || /^[ #]/.test(first)) return [head + first, ...rest];
  return [head, ...[first, ...rest].map((line) => " ".repeat(by) + line)];
}

function behind([first = "", ...rest]: string[]): string[] {
  return [`- ${first.trimStart()}`, ...rest.map((line) => `  ${line}`)];
}

/** Now and then something is between the lines that was not to be there. */
const blockText = fc
  .tuple(
    block,
    fc.option(fc.tuple(fc.nat(5), fc.constantFrom("", "# c", "  # c", "---", "...", " x", "\t", "%YAML 1.1", "- a", "a: 1")), { freq: 2 }),
  )
  .map(([lines, more]) => {
    if (more !== null) lines.splice(more[0], 0, more[1]);
    return `${lines.join("\n")}\n`;
  });

const SAMPLE = await sampleConfig({ hostname: "vm", address: "10.0.0.1" }, {});

describe("the quick reader of YAML", () => {
  test("reads what the whole parser reads, or leaves it", () => {
    let read = 0;
    fc.assert(
      fc.property(blockText, (text) => {
        if (agree(text) === true) read += 1;
      }),
      { numRuns: 3_000 },
    );
    expect(read).toBeGreaterThan(200);
  });

  test.each([
    ["a sample configuration", SAMPLE],
    [
      "what is written by hand",
      `# a node

scope: demo   # the cluster
name: node1
restapi: {listen: 0.0.0.0:8008, connect_address: 10.0.0.1:8008}
consul:
  host: 127.0.0.1:8500
  register_service: on
bootstrap:
  initdb:
  - encoding: UTF8
  - data-checksums
  pg_hba:
    - host all all 127.0.0.1/32 scram-sha-256
    - "local all all trust"
postgresql:
  data_dir: /var/lib/postgresql/15/main
  parameters: {max_connections: 200, shared_buffers: 1GB, archive_mode: "on"}
  archive_command: test ! -f /wal/%f && cp %p /wal/%f
  callbacks: {}
tags: {nofailover: false, clonefrom: true}
`,
    ],
  ])("reads %s", (_, text) => {
    expect(agree(text)).toBe(true);
  });

  test.each([
    ["a key that stands twice", "a: 1\na: 2\n"],
    ["a tab", "a:\n\tb: 1\n"],
    ["an anchor", "a: &x 1\nb: *x\n"],
    ["text over several lines", "a: b\n  c\n"],
    ["a block of text", "a: |\n  b\n"],
    ["an octal number", "a: 0644\n"],
    ["a second document", "a: 1\n---\nb: 2\n"],
    ["a list at the top", "- a\n"],
    ["nothing", "# only this\n"],
    ["nesting without an end", `a: ${"[".repeat(40)}${"]".repeat(40)}\n`],
    ["a name that no object may be given", "__proto__: {a: 1}\n"],
  ])("leaves %s to the whole parser", (_, text) => {
    expect(readPlainYaml(text)).toBeNull();
  });
});
