/** Small helpers over the DOM: make an element, find one by id, draw an icon. */

type Attributes = Record<string, string | number | boolean | undefined | ((event: Event) => void)>;
type Child = Node | string | undefined;

/**
 * Makes an element. A function under `on…` becomes a listener, `true` an empty attribute, `false`
 * and `undefined` nothing. Inline styles are not offered: the page's policy forbids them.
 */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** The element of that id, checked to be of `type`; a page without it is broken, so it throws. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new TypeError(`The page has no ${type.name} #${id}`);
  return element;
}

/** Paths of the icons on a 20 x 20 grid, drawn with a 1.5 px round stroke. */
const icons = {
  copy: "M7.5 7.5h8v8h-8zM12.5 7.5v-3h-8v8h3",
  download: "M10 3.5v9m0 0 3.5-3.5M10 12.5 6.5 9M4 16h12",
  settings: "M4 6.5h7m3 0h2M4 13.5h2m3 0h7M12.5 5v3M7.5 12v3",
  close: "M5.5 5.5l9 9m0-9-9 9",
  swap: "M6.5 4 3.5 7l3 3M3.5 7h10M13.5 10l3 3-3 3M16.5 13h-10",
  retry: "M15.5 8A6 6 0 1 0 16 11.5M15.5 4v4h-4",
  trash: "M4.5 6h11M8 6V4h4v2M6 6l.6 10h6.8L14 6",
  left: "M12 4.5 6.5 10l5.5 5.5",
  right: "M8 4.5 13.5 10 8 15.5",
} as const;

export type IconName = keyof typeof icons;

export function icon(name: IconName): SVGElement {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(ns, "path");
  path.setAttribute("d", icons[name]);
  svg.append(path);
  return svg;
}

/** A button; with `label` only an icon is seen and the label is its accessible name. */
export function iconButton(name: IconName, label: string, onClick: () => void): HTMLButtonElement {
  return el(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, onclick: onClick },
    icon(name) as unknown as Node,
  );
}

/** A button with words, and an icon before them if named. */
export function textButton(
  text: string,
  onClick: () => void,
  options: { icon?: IconName; class?: string } = {},
): HTMLButtonElement {
  return el(
    "button",
    { type: "button", class: options.class ?? "button", onclick: onClick },
    options.icon ? icon(options.icon) : undefined,
    text,
  );
}
