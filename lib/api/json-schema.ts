// Owns the way from a Valibot schema to JSON Schema (2020-12), for the kinds of schema that the API's documents use.
// A kind that it does not know is a broken invariant: it throws instead of describing something else.

import type * as v from "valibot";
import { factsOf } from "../config/option.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

/** What the builder looks at in a schema of any kind. */
interface Parts {
  readonly kind: string;
  readonly type: string;
  readonly pipe?: readonly Parts[];
  readonly wrapped?: Parts;
  readonly options?: readonly unknown[];
  readonly entries?: Readonly<Record<string, Parts>>;
  readonly rest?: Parts;
  readonly item?: Parts;
  readonly items?: readonly Parts[];
  readonly value?: unknown;
  readonly default?: unknown;
  readonly literal?: unknown;
  readonly requirement?: unknown;
  readonly description?: string;
}

/** Describes what a schema takes (before its transformations). Throws on a kind of schema that has no description here. */
export function jsonSchema(schema: v.GenericSchema): JsonSchema {
  return describe(schema as unknown as Parts);
}

function describe(schema: Parts): JsonSchema {
  const facts = factsOf(schema);
  if (facts !== undefined) {
    const fallback = facts.secret || facts.fallback === null ? {} : { default: facts.fallback };
    return { description: facts.wanted, ...fallback };
  }
  if (schema.pipe === undefined) return kindOf(schema);
  // A section looks first whether it is a mapping at all (custom), and then at its entries: what is told is those.
  const told = schema.pipe
    .filter(({ type, pipe }) => type !== "custom" || pipe !== undefined)
    .map((part) => (part.kind === "schema" ? describe(part) : actionOf(part)));
  return Object.assign({}, ...told);
}

function kindOf(schema: Parts): JsonSchema {
  switch (schema.type) {
    case "string":
    case "boolean":
    case "number":
    case "null":
      return { type: schema.type };
    case "bigint":
      return { type: "integer" };
    case "unknown":
    case "any":
      return {};
    case "literal":
      return { const: schema.literal };
    case "picklist":
      return { enum: schema.options };
    case "optional":
    case "exact_optional":
      return withDefault(schema);
    case "nullable":
    case "nullish":
      return anyOf([withDefault(schema), { type: "null" }]);
    case "union":
      return anyOf((schema.options as readonly Parts[]).map(describe));
    case "array":
      return { type: "array", items: describe(schema.item as Parts) };
    case "tuple":
      return { type: "array", prefixItems: (schema.items ?? []).map(describe), minItems: schema.items?.length };
    case "record":
      return { type: "object", additionalProperties: describe(schema.value as Parts) };
    case "object":
    case "loose_object":
    case "strict_object":
    case "object_with_rest":
      return objectOf(schema);
    default:
      throw new Error(`no JSON Schema for a Valibot schema of type ${schema.type}`);
  }
}

function objectOf(schema: Parts): JsonSchema {
  const entries = Object.entries(schema.entries ?? {});
  const required = entries.filter(([, entry]) => !isOptional(entry)).map(([name]) => name);
  return {
    type: "object",
    properties: Object.fromEntries(entries.map(([name, entry]) => [name, describe(entry)])),
    ...(required.length === 0 ? {} : { required }),
    ...(schema.type === "strict_object" ? { additionalProperties: false } : {}),
    ...(schema.type === "object_with_rest" ? { additionalProperties: describe(schema.rest as Parts) } : {}),
  };
}

function isOptional(schema: Parts): boolean {
  return ["optional", "exact_optional", "nullish"].includes(schema.type) || factsOf(schema) !== undefined;
}

function withDefault(schema: Parts): JsonSchema {
  const described = describe(schema.wrapped as Parts);
  const fallback = schema.default;
  const isPlain = ["string", "number", "boolean"].includes(typeof fallback);
  return isPlain ? { ...described, default: fallback } : described;
}

function anyOf(alternatives: readonly JsonSchema[]): JsonSchema {
  const variants = alternatives.flatMap((one) => (isOnly(one, "anyOf") ? (one["anyOf"] as readonly JsonSchema[]) : [one]));
  // "Anything, or …" is anything.
  if (variants.some((one) => Object.keys(one).length === 0)) return {};
  if (variants.every((one) => isOnly(one, "type"))) {
    const types = [...new Set(variants.flatMap((one) => one["type"] as string | readonly string[]))];
    const distinct = types.filter((type) => type !== "integer" || !types.includes("number"));
    return { type: distinct.length === 1 ? distinct[0] : distinct };
  }
  const distinct = variants.filter((one, index) => variants.findIndex((other) => JSON.stringify(other) === JSON.stringify(one)) === index);
  return distinct.length === 1 ? (distinct[0] as JsonSchema) : { anyOf: distinct };
}

function isOnly(schema: JsonSchema, key: string): boolean {
  return key in schema && Object.keys(schema).length === 1;
}

/** What an action adds to the description; a transformation or a check in code adds nothing. */
function actionOf(action: Parts): JsonSchema {
  switch (action.type) {
    case "description":
      return { description: action.description };
    case "integer":
      return { type: "integer" };
    case "min_value":
      return { minimum: action.requirement };
    case "max_value":
      return { maximum: action.requirement };
    case "check":
    case "transform":
    case "raw_transform":
      return {};
    default:
      throw new Error(`no JSON Schema for a Valibot action of type ${action.type}`);
  }
}
