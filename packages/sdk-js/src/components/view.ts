/**
 * Describe a tree of elements and bring the real one in line with it.
 *
 * Text only ever becomes text nodes and attributes: there is no way to pass markup, so nothing that a model says can
 * become an element that was not written here. Nothing sets a `style` attribute, so a strict content security policy
 * needs no exception.
 */

export interface Node_ {
  tag: string;
  props: Props;
  children: Array<Node_ | string>;
}

export type Child = Node_ | string | number | false | null | undefined | Child[];

/** Attributes by name; `on*` are listeners, `.name` are properties, `key` tells siblings apart, `ref` gets the element. */
export interface Props {
  [name: string]: unknown;
}

type Listeners = Record<string, EventListener>;
interface Patched extends Element {
  _props?: Props;
  _listeners?: Listeners;
  _key?: unknown;
}

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "rect", "line", "circle", "g", "text", "title"]);

export function h(tag: string, props?: Props | null, ...children: Child[]): Node_ {
  return { tag, props: props ?? {}, children: flat(children) };
}

function flat(children: Child[]): Array<Node_ | string> {
  const all: Array<Node_ | string> = [];
  for (const child of children) {
    if (Array.isArray(child)) all.push(...flat(child));
    else if (child !== null && child !== undefined && child !== false) {
      all.push(typeof child === "number" ? String(child) : child);
    }
  }
  return all;
}

/** Make the children of `parent` what `wanted` describes, keeping every element whose tag and key stay the same. */
export function patch(parent: ParentNode & Node, wanted: Array<Node_ | string>): void {
  const keyed = new Map<unknown, Patched>();
  for (const child of parent.childNodes) {
    const key = (child as Patched)._key;
    if (key !== undefined) keyed.set(key, child as Patched);
  }
  let next: ChildNode | null = parent.firstChild;
  for (const each of wanted) {
    const found = match(each, next, keyed);
    if (found === null) {
      parent.insertBefore(make(each, parent), next);
      continue;
    }
    if (found === next) next = next.nextSibling;
    else parent.insertBefore(found, next);
    if (typeof each === "string") {
      if (found.textContent !== each) found.textContent = each;
    } else update(found as Patched, each);
  }
  while (next !== null) {
    const gone: ChildNode = next;
    next = next.nextSibling;
    gone.remove();
  }
}

function match(wanted: Node_ | string, at: ChildNode | null, keyed: Map<unknown, Patched>): ChildNode | null {
  if (typeof wanted === "string") return at?.nodeType === 3 ? at : null;
  const key = wanted.props["key"];
  if (key !== undefined) {
    const found = keyed.get(key);
    keyed.delete(key);
    return found?.localName === wanted.tag ? found : null;
  }
  const here = at as Patched | null;
  return here?.nodeType === 1 && here.localName === wanted.tag && here._key === undefined ? here : null;
}

function make(wanted: Node_ | string, parent: Node): Node {
  if (typeof wanted === "string") return document.createTextNode(wanted);
  const inSvg = SVG_TAGS.has(wanted.tag) && (wanted.tag === "svg" || (parent as Element).namespaceURI === SVG);
  const element: Patched = inSvg ? document.createElementNS(SVG, wanted.tag) : document.createElement(wanted.tag);
  if (wanted.props["key"] !== undefined) element._key = wanted.props["key"];
  update(element, wanted);
  return element;
}

function update(element: Patched, wanted: Node_): void {
  const before = element._props ?? {};
  const { props } = wanted;
  element._props = props;
  for (const name in before) if (!(name in props)) set(element, name, undefined);
  for (const name in props) {
    const own = name === ".value" || name === ".checked" || name === ".selected";
    if (own || props[name] !== before[name]) set(element, name, props[name]);
  }
  if (props["opaque"] === undefined) patch(element, wanted.children);
  for (const name of [".value", ".checked"]) if (name in props && element.localName === "select") set(element, name, props[name]);
  const ref = props["ref"];
  if (typeof ref === "function") (ref as (element: Element) => void)(element);
}

function set(element: Patched, name: string, value: unknown): void {
  if (name === "key" || name === "ref" || name === "opaque") return;
  if (name.startsWith("on")) {
    listen(element, name.slice(2), value as EventListener | undefined);
  } else if (name.startsWith(".")) {
    const target = element as unknown as Record<string, unknown>;
    if (target[name.slice(1)] !== value) target[name.slice(1)] = value;
  } else if (value === false || value === null || value === undefined) {
    element.removeAttribute(name);
  } else {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Listen once per event, to whatever listener the latest description names. */
function listen(element: Patched, event: string, listener: EventListener | undefined): void {
  const listeners = (element._listeners ??= {});
  if (!(event in listeners)) element.addEventListener(event, (happened) => listeners[event]?.call(element, happened));
  if (listener) listeners[event] = listener;
  else delete listeners[event];
}
