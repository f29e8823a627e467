// Elements without markup in strings: the pages' policy lets no text become a node.

export const $ = (id) => document.getElementById(id);

// An element with properties (`class`, `data-...`, `aria-...` and other attributes by their names, handlers as
// `onclick`) and children: nodes, text, or nothing.
export function h(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

// The same for SVG.
export function svg(name, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function milliseconds(value) {
  if (value >= 9995) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 99.5) return `${Math.round(value)} ms`;
  return `${value.toFixed(1)} ms`;
}

export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// Saves a blob under a name, as a click on a link would.
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export const calm = matchMedia("(prefers-reduced-motion: reduce)");
