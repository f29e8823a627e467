// What the model makes, ready to be shown: a picture, or points.

import { bytes, fetched, json, several } from "./api.js";
import { h } from "./dom.js";
import * as scatter from "./scatter.js";
import { fields, isPoints, state } from "./state.js";

const SMALL = 96; // pixels
const POINTS = 256;
const POINTS_AT_ONCE = 64; // the server's own bound is this, if its operator set no other

// { blob or points, timing, requests, label, seed, steps } of the fields that are chosen now. Points take several requests,
// one after the other, and the time is that of all of them.
export async function generate(more, signal) {
  const asked = fields(more);
  if (!isPoints()) {
    return asMade(await fetched("generate", asked, { signal, fresh: true }), asked);
  }
  const points = [];
  const timings = [];
  while (points.length < POINTS) {
    const seed = asked.seed + BigInt(points.length);
    const part = (n) => json("generate", { ...asked, n, seed }, { signal, fresh: true });
    const { document, timing } = await several(POINTS_AT_ONCE, part);
    points.push(...document.points);
    timings.push(timing);
  }
  return { points, timing: total(timings), requests: timings.length, label: "", seed: asked.seed, steps: asked.steps };
}

// The sum of several requests' timings, stage by stage.
function total(timings) {
  const all = {};
  for (const timing of timings) {
    for (const [name, value] of Object.entries(timing)) all[name] = (all[name] ?? 0) + value;
  }
  return all;
}

// A picture as `fetched` has it.
function asMade({ blob, headers, timing }, { seed }) {
  const label = decodeURIComponent(headers.get("longjump-label-name") ?? "");
  return { blob, timing, label, seed, steps: Number(headers.get("longjump-steps")) };
}

// A picture or points that came in JSON: `entry` is one of its images.
export function fromJson(document, entry) {
  if (entry.points) return { points: [entry.points], seed: entry.seed, steps: document.steps };
  return { blob: new Blob([bytes(entry.base64)], { type: document.media_type }), seed: entry.seed, steps: document.steps };
}

// Pictures and their URLs, which hold the bytes for as long as somebody may save the picture from the page.
const held = new Map();

setInterval(() => {
  for (const [element, url] of held) {
    if (element.isConnected) continue;
    URL.revokeObjectURL(url);
    held.delete(element);
  }
}, 5000);

export function describe(sample) {
  const label = sample.label && sample.label !== "none" ? `${sample.label}, ` : "";
  const steps = sample.steps === undefined ? "" : `, ${sample.steps} ${sample.steps === 1 ? "step" : "steps"}`;
  return `${label}seed ${sample.seed}${steps}`;
}

// A picture of `blob`, named for who cannot see it. Small ones are shown by their pixels.
export function image(blob, alt) {
  const url = URL.createObjectURL(blob);
  const element = h("img", { src: url, alt, class: "made" });
  held.set(element, url);
  element.classList.toggle("pixels", small());
  return element;
}

// Whether pictures are so small that they are shown by their pixels.
export const small = () => (state.model?.image_shape?.[0] ?? SMALL + 1) <= SMALL;

// Points that are drawn once the element stands in the page.
export function plot(points, extent, alt, options) {
  const canvas = h("canvas", { class: "made", role: "img", "aria-label": alt });
  const redraw = () => canvas.isConnected && scatter.draw(canvas, points, extent, options);
  new ResizeObserver(redraw).observe(canvas);
  return canvas;
}

export function show(sample, extent, options) {
  if (sample.points) return plot(sample.points, extent ?? scatter.extent([sample.points]), describe(sample), options);
  return image(sample.blob, describe(sample));
}

// A name for a file: a label may be any text.
export function fileName(sample, extension = "png") {
  const plain = (sample.label || "picture").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "picture";
  return `${plain}-${sample.seed}.${extension}`;
}
