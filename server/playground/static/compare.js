// The same seed at several step counts, side by side, each with where its time went.

import { $, h, milliseconds, plural, save } from "./dom.js";
import { runner } from "./run.js";
import { fileName, generate, show, small } from "./samples.js";
import { extent } from "./scatter.js";
import { change, isPoints, onChange, state } from "./state.js";
import { bar, list } from "./timing.js";

const SHOWN = [1, 2, 4, 8];

let made = new Map(); // steps -> sample
let columns = new Map(); // steps -> its elements

// The step counts that are compared: the usual ones that the model supports, and the chosen one.
export function compared(model = state.model, chosen = state.steps) {
  const usual = model.steps.filter((steps) => SHOWN.includes(steps));
  const shown = usual.length > 1 ? usual : model.steps.slice(0, SHOWN.length);
  return [...new Set([...shown, chosen])].sort((a, b) => a - b);
}

// The picture of the chosen step count, once it is there.
export const current = () => made.get(state.steps);

export const compare = runner($("compare"), async (signal, patient) => {
  lay();
  // One after the other, so that each one's time is its own.
  for (const steps of compared()) {
    const sample = await patient(() => generate({ steps }, signal));
    made.set(steps, sample);
    showSample(steps, sample);
  }
});

// The picture that index.html asks for before any of this runs. Without its time: that would be the time of a page that
// is still loading.
export function glance() {
  const early = $("first-picture");
  if (location.hash || state.mode !== "compare" || isPoints() || !early.naturalWidth) return;
  lay();
  early.classList.toggle("pixels", small());
  columns.get(state.model.default_steps)?.picture.replaceChildren(early);
}

export function setUpCompare() {
  $("compare-again").addEventListener("click", compare);
  $("compare-save").addEventListener("click", () => {
    const sample = current();
    if (sample?.blob) save(sample.blob, fileName(sample));
  });
  onChange((names) => {
    if (names.has("steps")) select();
  });
}

// Empty columns in place of those of other step counts; what is there stays until it is replaced.
function lay() {
  const shown = compared();
  made = new Map();
  if (shown.join() !== [...columns.keys()].join()) {
    columns = new Map(shown.map((steps) => [steps, column(steps)]));
    $("columns").replaceChildren(...[...columns.values()].map(({ root }) => root));
  }
  for (const { root } of columns.values()) root.classList.add("stale");
  $("compare-vary").hidden = $("compare-save").hidden = isPoints();
  select();
}

function column(steps) {
  const picture = h("span", { class: "sample" });
  const seen = h("span", { class: "number" }, "–");
  const time = h("div", { class: "time" });
  const button = h("button", { type: "button", class: "pick", onclick: () => change({ steps }) },
    picture, h("span", { class: "steps" }, plural(steps, "step")));
  return { root: h("article", { class: "column" }, button, seen, time), button, picture, seen, time };
}

function showSample(steps, sample) {
  const mine = columns.get(steps);
  if (!mine) return;
  const points = [...made.values()].map((one) => one.points).filter(Boolean);
  if (points.length) {
    const common = extent(points);
    for (const [count, one] of made) columns.get(count)?.picture.replaceChildren(show(one, common));
  } else mine.picture.replaceChildren(show(sample));
  mine.seen.textContent = milliseconds(sample.timing.seen);
  mine.time.replaceChildren(bar(sample.timing, 1), list(sample.timing));
  if (sample.points) mine.time.append(h("p", { class: "note" }, `${plural(sample.points.length, "point")} in ${plural(sample.requests, "request")}`));
  mine.root.classList.remove("stale");
  const longest = Math.max(...[...made.values()].map(({ timing }) => timing.seen));
  for (const [count, one] of made) {
    const { time } = columns.get(count);
    time.firstChild.replaceWith(bar(one.timing, longest));
  }
}

function select() {
  for (const [steps, { root, button }] of columns) {
    root.classList.toggle("chosen", steps === state.steps);
    button.setAttribute("aria-pressed", String(steps === state.steps));
  }
}
