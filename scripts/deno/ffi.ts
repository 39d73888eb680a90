// Owns calls into libc under Deno, in the form of Bun's: scripts/deno/import-map.json puts it in place of `bun:ffi`.

interface NativeFunction {
  readonly parameters: readonly string[];
  readonly result: string;
}

declare const Deno: {
  dlopen(name: string, symbols: Readonly<Record<string, NativeFunction>>): { readonly symbols: Readonly<Record<string, unknown>> };
};

/** A pointer is the memory that it points to: Deno takes that itself. */
export const FFIType = {
  i32: "i32",
  u32: "u32",
  i64: "i64",
  u64: "u64",
  ptr: "buffer",
} as const;

export function ptr<T extends ArrayBufferView>(memory: T): T {
  return memory;
}

interface Description {
  readonly args: readonly string[];
  readonly returns: string;
}

/** Throws where the library, or a function of it, is not there. */
export function dlopen(name: string, functions: Readonly<Record<string, Description>>) {
  const native = Object.entries(functions).map(([symbol, { args, returns }]) => [
    symbol,
    { parameters: args.map((type) => (type === "ptr" ? "buffer" : type)), result: returns },
  ]);
  return Deno.dlopen(name, Object.fromEntries(native));
}
