/** Makes elements. No markup is ever parsed: what comes from outside stays text. */

type Child = Node | string;
type Attributes = Record<string, string | number>;

export function html<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

export function svg(name: string, attributes: Attributes = {}, ...children: Node[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** Sets the text only if it is another: a reader's selection and a screen reader's place stay. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
