/** The text that a command is about, and putting an answer in its place: in fields, editable elements and pages. */

export interface Target {
  text: string;
  /** Whether an answer can be put there. */
  editable: boolean;
  replace(text: string): void;
  append(text: string): void;
  focus(): void;
}

type Field = HTMLTextAreaElement | HTMLInputElement;
const TEXTUAL = new Set(["text", "search", "url", "email", "tel", ""]);

/** Return what is selected now, in `place` (a field or an editable element) or wherever the focus is. */
export function targetOf(place: Element | null): Target {
  const at = place ?? deepActive();
  if (isField(at)) return fieldTarget(at);
  const selection = document.getSelection();
  const range = selection && selection.rangeCount > 0 ? selection.getRangeAt(0) : null;
  const host = at instanceof HTMLElement && at.isContentEditable ? at : editableAround(range);
  if (host) return editableTarget(host, range && host.contains(range.commonAncestorContainer) ? range.cloneRange() : null);
  const text = place === null ? (selection?.toString() ?? "") : (place.textContent ?? "");
  return { text, editable: false, replace: () => {}, append: () => {}, focus: () => (at instanceof HTMLElement ? at.focus() : undefined) };
}

function deepActive(): Element | null {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return at;
}

function isField(at: Element | null): at is Field {
  return at instanceof HTMLTextAreaElement || (at instanceof HTMLInputElement && TEXTUAL.has(at.type));
}

function editableAround(range: Range | null): HTMLElement | null {
  const node = range?.commonAncestorContainer;
  let at: Element | null | undefined = node instanceof Element ? node : node?.parentElement;
  while (at?.parentElement instanceof HTMLElement && at.parentElement.isContentEditable) at = at.parentElement;
  return at instanceof HTMLElement && at.isContentEditable ? at : null;
}

function fieldTarget(field: Field): Target {
  const chosen = [field.selectionStart ?? 0, field.selectionEnd ?? 0] as const;
  const [start, end] = chosen[0] === chosen[1] ? ([0, field.value.length] as const) : chosen;
  const put = (text: string, from: number, to: number): void => {
    field.setRangeText(text, from, to, "select");
    field.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: "insertReplacementText", data: text }));
    field.focus();
  };
  const editable = !field.readOnly && !field.disabled;
  return {
    text: field.value.slice(start, end),
    editable,
    replace: (text) => put(text, start, end),
    append: (text) => put(`${end > 0 ? "\n\n" : ""}${text}`, end, end),
    focus: () => {
      field.focus();
      field.setSelectionRange(chosen[0], chosen[1]);
    },
  };
}

function editableTarget(host: HTMLElement, selected: Range | null): Target {
  const whole = document.createRange();
  whole.selectNodeContents(host);
  const range = selected === null || selected.collapsed ? whole : selected;
  const put = (text: string, at: Range): void => {
    at.deleteContents();
    const node = document.createTextNode(text);
    at.insertNode(node);
    host.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: "insertReplacementText", data: text }));
    host.focus();
    document.getSelection()?.selectAllChildren(host);
    document.getSelection()?.collapseToEnd();
  };
  return {
    text: range.toString(),
    editable: true,
    replace: (text) => put(text, range),
    append: (text) => {
      const end = range.cloneRange();
      end.collapse(false);
      put(`\n\n${text}`, end);
    },
    focus: () => {
      host.focus();
      const selection = document.getSelection();
      selection?.removeAllRanges();
      if (selected) selection?.addRange(selected);
    },
  };
}
