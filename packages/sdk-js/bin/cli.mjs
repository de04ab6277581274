#!/usr/bin/env node
// npx @modelfaucet/sdk types manifest.json… > features.d.ts
import { readFileSync, realpathSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

const USAGE = `Usage: npx @modelfaucet/sdk types [KEY=]MANIFEST.json… > features.d.ts

Writes the TypeScript types of features' input and output. A manifest is JSON: the manifest itself, or the answer of
GET /v1/apps/{app_id}/features/{key}/manifest. KEY is the feature's; by default it is the file's name.
`;

/** Returns the TypeScript of several features, by their keys. */
export function typesOf(manifests) {
  const names = new Map();
  const blocks = Object.entries(manifests).map(([key, manifest]) => {
    const name = pascal(key);
    if (names.has(name)) throw new Error(`The features '${names.get(name)}' and '${key}' would have the same type name.`);
    names.set(name, key);
    const input = manifest.input ?? { type: "object" };
    const { kind = "text", schema } = manifest.output ?? {};
    const output = kind === "json" ? typeOf(schema ?? true, schema ?? {}, 1) : "string";
    const told = typeof manifest.description === "string" ? `/** ${comment(manifest.description)} */\n` : "";
    return `${told}export interface ${name} {\n  input: ${typeOf(input, input, 1)};\n  output: ${output};\n}\n`;
  });
  const all = [...names].map(([name, key]) => `  ${property(key)}: ${name};\n`).join("");
  return `// Made by \`npx @modelfaucet/sdk types\`; do not edit.\n\n${blocks.join("\n")}\nexport interface Features {\n${all}}\n`;
}

function typeOf(schema, root, depth) {
  if (schema === false) return "never";
  if (typeof schema !== "object" || schema === null) return "unknown";
  if (typeof schema.$ref === "string") return typeOf(resolve(schema.$ref, root), root, depth);
  if ("const" in schema) return JSON.stringify(schema.const);
  if (Array.isArray(schema.enum)) return union(schema.enum.map((value) => JSON.stringify(value)));
  for (const name of ["anyOf", "oneOf"]) {
    if (Array.isArray(schema[name])) return union(schema[name].map((each) => typeOf(each, root, depth)));
  }
  if (Array.isArray(schema.allOf)) {
    const { allOf, ...rest } = schema;
    const parts = [...allOf, ...(rest.type || rest.properties ? [rest] : [])].map((each) => typeOf(each, root, depth));
    return parts.map((part) => (part.includes(" | ") ? `(${part})` : part)).join(" & ");
  }
  const types = schema.type === undefined ? guess(schema) : [schema.type].flat();
  return union(types.map((type) => single(type, schema, root, depth)));
}

function single(type, schema, root, depth) {
  if (type === "integer" || type === "number") return "number";
  if (type === "string" || type === "boolean" || type === "null") return type;
  if (type === "array") {
    if (Array.isArray(schema.prefixItems)) {
      const items = schema.prefixItems.map((each) => typeOf(each, root, depth));
      return `[${[...items, ...(schema.items === false ? [] : [`...${group(typeOf(schema.items ?? true, root, depth))}[]`])].join(", ")}]`;
    }
    return `${group(typeOf(schema.items ?? true, root, depth))}[]`;
  }
  return type === "object" ? object(schema, root, depth) : "unknown";
}

function object(schema, root, depth) {
  const { properties = {}, required = [], additionalProperties } = schema;
  const indent = "  ".repeat(depth);
  const lines = Object.entries(properties).map(([name, member]) => {
    const told = typeof member?.description === "string" ? `${indent}  /** ${comment(member.description)} */\n` : "";
    return `${told}${indent}  ${property(name)}${required.includes(name) ? "" : "?"}: ${typeOf(member, root, depth + 1)};\n`;
  });
  if (!lines.length) {
    return additionalProperties === false ? "Record<string, never>" : `Record<string, ${typeOf(additionalProperties ?? true, root, depth)}>`;
  }
  if (additionalProperties !== false) lines.push(`${indent}  [member: string]: unknown;\n`);
  return `{\n${lines.join("")}${indent}}`;
}

const guess = ({ properties, items, prefixItems }) => (properties ? ["object"] : items || prefixItems ? ["array"] : [""]);
const union = (types) => [...new Set(types)].join(" | ") || "never";
const group = (type) => (/[|&]/.test(type) && !type.endsWith("}") ? `(${type})` : type);
const comment = (text) => text.replace(/\s+/g, " ").replace(/\*\//g, "* /").trim();
const property = (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));

function pascal(key) {
  const name = key.split(/[^A-Za-z0-9]+/).map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("");
  return /^[A-Za-z]/.test(name) ? name : `Feature${name}`;
}

function resolve(reference, root) {
  const found = reference.split("/").slice(1).reduce((at, name) => at?.[name.replace(/~1/g, "/").replace(/~0/g, "~")], root);
  if (!reference.startsWith("#/") || found === undefined) throw new Error(`'${reference}' leads nowhere.`);
  return found;
}

function read(argument) {
  const [, key, path] = /^(?:([^=/\\]+)=)?(.+)$/.exec(argument);
  let content;
  try {
    content = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`${path}: ${error instanceof SyntaxError ? "it is not JSON" : error.message}`);
  }
  const manifest = typeof content?.manifest === "object" && content.manifest ? content.manifest : content;
  return [key ?? content.feature_key ?? basename(path).replace(/\.json$/, ""), manifest];
}

function main([command, ...files]) {
  if (command !== "types" || !files.length) {
    process.stderr.write(USAGE);
    return 2;
  }
  try {
    process.stdout.write(typesOf(Object.fromEntries(files.map(read))));
    return 0;
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    return 1;
  }
}

// npm starts it through a link.
if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = main(process.argv.slice(2));
}
