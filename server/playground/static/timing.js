// Where the time of one request went, as a bar and in numbers.

import { h, milliseconds } from "./dom.js";

const STAGES = ["queue", "network", "decode", "encode"];

// The stages of a timing in their order, and `rest`: HTTP, the way there and back, and this page.
export function stages(timing) {
  const known = STAGES.map((name) => [name, timing[name] ?? 0]);
  const sum = known.reduce((total, [, value]) => total + value, 0);
  return [...known, ["rest", Math.max(0, timing.seen - sum)]];
}

// A bar whose full length is `longest` milliseconds.
export function bar(timing, longest) {
  const parts = stages(timing).map(([name, value]) => {
    const part = h("span", { class: `part ${name}` });
    part.style.width = `${(100 * value) / longest}%`;
    return part;
  });
  return h("div", { class: "timebar", "aria-hidden": "true" }, ...parts);
}

// The numbers behind it.
export function list(timing) {
  const rows = stages(timing).map(([name, value]) =>
    h("div", name === "rest" ? { title: "HTTP, the way there and back, and this page" } : {}, h("dt", {}, h("span", { class: `swatch ${name}`, "aria-hidden": "true" }), name), h("dd", {}, milliseconds(value))),
  );
  return h("dl", { class: "stages" }, ...rows);
}
