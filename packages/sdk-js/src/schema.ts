/** The part of JSON Schema that manifests use, for features that run where no gateway checks them. */
type Schema = Record<string, unknown>;

/** Returns the path of what does not fit the schema, or null where everything does. */
export function misfit(schema: unknown, value: unknown, path: string, root: unknown = schema): string | null {
  if (schema === false) return path;
  if (typeof schema !== "object" || !schema) return null;
  const all = schema as Schema;
  const nested = (each: unknown, of = value, at = path): string | null => misfit(each, of, at, root);
  const fits = (each: unknown): boolean => nested(each) === null;
  const list = (name: string): unknown[] => (Array.isArray(all[name]) ? (all[name] as unknown[]) : []);

  if (typeof all["$ref"] === "string") {
    const found = all["$ref"].split("/").slice(1).reduce<unknown>((at, name) => (at as Schema | undefined)?.[name.replace(/~1/g, "/").replace(/~0/g, "~")], root);
    const problem = nested(found);
    if (problem) return problem;
  }
  const types = typeof all["type"] === "string" ? [all["type"]] : list("type");
  if (types.length && !types.some((type) => isOf(String(type), value))) return path;
  if ("const" in all && !same(all["const"], value)) return path;
  if ("enum" in all && !list("enum").some((each) => same(each, value))) return path;
  for (const each of list("allOf")) {
    const problem = nested(each);
    if (problem) return problem;
  }
  if ("anyOf" in all && !list("anyOf").some(fits)) return path;
  if ("oneOf" in all && list("oneOf").filter(fits).length !== 1) return path;
  if ("not" in all && fits(all["not"])) return path;
  if (typeof value === "number" && !inBounds(all, value)) return path;
  if (typeof value === "string") {
    const length = [...value].length;
    if (length < bound(all, "minLength", 0) || length > bound(all, "maxLength", Infinity)) return path;
    if (typeof all["pattern"] === "string" && !new RegExp(all["pattern"], "u").test(value)) return path;
  }
  if (Array.isArray(value)) return misfitItem(all, value, path, nested);
  return value && typeof value === "object" ? misfitMember(all, value as Schema, path, nested) : null;
}

type Nested = (schema: unknown, value: unknown, path: string) => string | null;

function misfitItem(all: Schema, value: unknown[], path: string, nested: Nested): string | null {
  if (value.length < bound(all, "minItems", 0) || value.length > bound(all, "maxItems", Infinity)) return path;
  if (all["uniqueItems"] === true && value.some((item, index) => value.slice(0, index).some((other) => same(item, other)))) return path;
  const first = Array.isArray(all["prefixItems"]) ? (all["prefixItems"] as unknown[]) : [];
  for (const [index, item] of value.entries()) {
    const problem = nested(index < first.length ? first[index] : (all["items"] ?? true), item, `${path}[${index}]`);
    if (problem) return problem;
  }
  return null;
}

function misfitMember(all: Schema, value: Schema, path: string, nested: Nested): string | null {
  const properties = (all["properties"] ?? {}) as Schema;
  for (const name of (all["required"] ?? []) as string[]) if (!Object.hasOwn(value, name)) return `${path}.${name}`;
  const count = Object.keys(value).length;
  if (count < bound(all, "minProperties", 0) || count > bound(all, "maxProperties", Infinity)) return path;
  for (const [name, member] of Object.entries(value)) {
    const known = Object.hasOwn(properties, name);
    const problem = nested(known ? properties[name] : (all["additionalProperties"] ?? true), member, known ? `${path}.${name}` : path);
    if (problem) return problem;
  }
  return null;
}

const bound = (all: Schema, name: string, otherwise: number): number => (typeof all[name] === "number" ? all[name] : otherwise);

function inBounds(all: Schema, value: number): boolean {
  const step = bound(all, "multipleOf", 0);
  return (
    value >= bound(all, "minimum", -Infinity) &&
    value <= bound(all, "maximum", Infinity) &&
    value > bound(all, "exclusiveMinimum", -Infinity) &&
    value < bound(all, "exclusiveMaximum", Infinity) &&
    (!step || Math.abs(value / step - Math.round(value / step)) < 1e-9)
  );
}

function isOf(type: string, value: unknown): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  return type === "integer" ? Number.isInteger(value) : typeof value === type;
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!value || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, member]) => [name, sorted(member)]));
}
