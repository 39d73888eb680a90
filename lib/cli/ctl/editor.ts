// Owns handing a text to the operator's editor and taking it back. The file is the operator's alone, and is removed.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CtlRefusal } from "./refusal.ts";

const USUAL_EDITORS = ["editor", "vi"] as const;

/** $EDITOR may hold arguments. Throws CtlRefusal: no editor, or it failed. */
export async function editText(
  text: string,
  options: { readonly name: string; readonly env: Readonly<Record<string, string | undefined>> },
): Promise<string> {
  const editor = options.env["EDITOR"] || USUAL_EDITORS.find((name) => Bun.which(name) !== null);
  if (editor === undefined) throw new CtlRefusal("EDITOR is not set, and there is no vi; use -s, -p, --apply or --replace");
  const folder = await mkdtemp(join(tmpdir(), "ctl-"));
  try {
    const file = join(folder, `${options.name.replace(/[^\w.-]/g, "_")}.yaml`);
    await writeFile(file, text, { mode: 0o600 });
    const child = Bun.spawn(["sh", "-c", `exec ${editor} "$1"`, "sh", file], { stdio: ["inherit", "inherit", "inherit"] });
    const status = await child.exited;
    if (status !== 0) throw new CtlRefusal(`Editor exited with return code ${status}`);
    return await readFile(file, "utf8");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
