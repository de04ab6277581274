/** What templates work on: the values of an input as Python and Jinja treat them, with the filters and tests there are. */
export class TemplateProblem extends Error {}

export const fail = (message: string): never => {
  throw new TemplateProblem(message);
};

/** What a template asks for and the input does not have. */
export class Missing {
  constructor(readonly name: string) {}
}
/** A number that is printed with its point, as `round` gives it. */
export class Float {
  constructor(readonly value: number) {}
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Missing) && !(value instanceof Float);

export function memberOf(value: unknown, key: string | number): unknown {
  if (Array.isArray(value) && typeof key === "number") return key < value.length ? value[key] : new Missing(String(key));
  if (isObject(value) && typeof key === "string" && Object.hasOwn(value, key)) return value[key];
  return new Missing(String(key));
}

/** Returns a value, or fails where there is none. */
export function real(value: unknown): unknown {
  if (value instanceof Missing) fail(`The prompt needs '${value.name}', which the input does not have.`);
  return value;
}

export function truth(value: unknown): boolean {
  const found = plain(real(value));
  if (Array.isArray(found)) return found.length > 0;
  return isObject(found) ? Object.keys(found).length > 0 : !!found;
}

const plain = (value: unknown): unknown => (value instanceof Float ? value.value : value);

export function shown(value: unknown): string {
  const found = real(value);
  return typeof found === "string" ? found : found === null ? "" : json(found);
}

function json(value: unknown): string {
  real(value);
  if (value instanceof Float) return Number.isInteger(value.value) ? `${value.value}.0` : String(value.value);
  if (Array.isArray(value)) return `[${value.map(json).join(", ")}]`;
  if (isObject(value)) return `{${Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}: ${json(member)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** Returns a value as Python's str() has it, which some filters work on. */
function string(value: unknown): string {
  const found = real(value);
  if (found === null) return "None";
  if (typeof found === "boolean") return found ? "True" : "False";
  return typeof found === "string" ? found : json(found);
}

function equal(left: unknown, right: unknown): boolean {
  const [a, b] = [left, right].map((value) => (typeof value === "boolean" ? Number(value) : plain(value)));
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, index) => equal(item, b[index]));
  if (!isObject(a) || !isObject(b)) return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && equal(a[name], b[name]));
}

function contains(all: unknown, value: unknown): boolean {
  if (Array.isArray(all)) return all.some((item) => equal(item, value));
  if (isObject(all)) return typeof value === "string" && Object.hasOwn(all, value);
  if (typeof all === "string" && typeof value === "string") return all.includes(value);
  return fail("The prompt cannot be made from this input.");
}

export function compare(operator: string, left: unknown, right: unknown): boolean {
  real(left);
  real(right);
  if (operator === "==" || operator === "!=") return equal(left, right) === (operator === "==");
  if (operator === "in" || operator === "not in") return contains(right, left) === (operator === "in");
  const order = ordered(left, right);
  return { "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0 }[operator] ?? false;
}

function ordered(left: unknown, right: unknown): number {
  const [a, b] = [left, right].map((value) => (typeof value === "boolean" ? Number(value) : plain(value)));
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : Number(a > b);
  return fail("The prompt cannot be made from this input.");
}

const capital = (value: string): string => value.slice(0, 1).toUpperCase() + value.slice(1).toLowerCase();

function size(value: unknown): number {
  const found = real(value);
  if (typeof found === "string") return [...found].length;
  if (Array.isArray(found)) return found.length;
  return isObject(found) ? Object.keys(found).length : fail("The prompt cannot be made from this input.");
}

function items(value: unknown): unknown[] {
  const found = real(value);
  if (typeof found === "string") return [...found];
  if (isObject(found)) return Object.keys(found);
  return Array.isArray(found) ? (found as unknown[]) : fail("The prompt cannot be made from this input.");
}

function whole(value: unknown, otherwise: unknown = 0): unknown {
  const found = plain(real(value));
  if (typeof found === "boolean") return Number(found);
  const read = typeof found === "string" ? Number(found.trim() || "x") : found;
  return typeof read === "number" && Number.isFinite(read) ? Math.trunc(read) : otherwise;
}

function rounded(value: unknown, precision: unknown = 0, method: unknown = "common"): Float {
  const found = plain(real(value));
  if (typeof found !== "number") return fail("The prompt cannot be made from this input.");
  const scale = 10 ** Number(precision);
  if (method === "ceil") return new Float(Math.ceil(found * scale) / scale);
  if (method === "floor") return new Float(Math.floor(found * scale) / scale);
  const near = Math.round(found * scale);
  // To the even one, where two are as near.
  return new Float((near - found * scale === 0.5 && near % 2 ? near - 1 : near) / scale);
}

function truncated(value: unknown, length: unknown = 255, killwords: unknown = false, end: unknown = "...", leeway: unknown = 5): string {
  const letters = [...string(value)];
  const most = Number(length);
  if (letters.length <= most + Number(leeway)) return letters.join("");
  const cut = letters.slice(0, most - [...String(end)].length).join("");
  const space = cut.lastIndexOf(" ");
  return (killwords || space < 0 ? cut : cut.slice(0, space)) + String(end);
}

const sortKey = (value: unknown): unknown => (typeof value === "string" ? value.toLowerCase() : value);
const orDefault = (value: unknown, other: unknown = "", falsy: unknown = false): unknown =>
  value instanceof Missing || (falsy && !truth(value)) ? other : value;

export const FILTERS: Record<string, (value: unknown, ...args: unknown[]) => unknown> = {
  capitalize: (value) => capital(string(value)),
  count: size,
  d: orDefault,
  default: orDefault,
  first: (value) => items(value)[0] ?? new Missing("first"),
  int: whole,
  join: (value, by = "") => items(value).map(string).join(string(by)),
  last: (value) => items(value).at(-1) ?? new Missing("last"),
  length: size,
  lower: (value) => string(value).toLowerCase(),
  round: rounded,
  sort: (value) => [...items(value)].sort((a, b) => ordered(sortKey(a), sortKey(b))),
  title: (value) => string(value).split(/([-\s({[<]+)/).map(capital).join(""),
  tojson: json,
  trim: (value) => string(value).trim(),
  truncate: truncated,
  upper: (value) => string(value).toUpperCase(),
};

export const TESTS: Record<string, (value: unknown, given: unknown) => boolean> = {
  defined: (value) => !(value instanceof Missing),
  undefined: (value) => value instanceof Missing,
  none: (value) => value === null,
  string: (value) => typeof value === "string",
  number: (value) => ["number", "boolean"].includes(typeof value) || value instanceof Float,
  mapping: isObject,
  sequence: (value) => typeof value === "string" || Array.isArray(value) || isObject(value),
  boolean: (value) => typeof value === "boolean",
  true: (value) => value === true,
  false: (value) => value === false,
  in: (value, given) => contains(given, value),
};
