// The form beside the pictures: model, class, seed, steps, guidance.

import { fetched, patiently } from "./api.js";
import { $, h, plural, svg } from "./dom.js";
import { image } from "./samples.js";
import { change, drawSeed, isPoints, onChange, parseSeed, shifted, state } from "./state.js";

const SEARCH_FROM = 25; // classes from which on they can be searched
const THUMB_SEED = 0;
const THUMBS_AT_ONCE = 2;

const ANY = "any";
let thumbs = null; // the thumbnails being fetched, of one model

export function setUpControls() {
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("model").addEventListener("change", (event) => {
    change({ model: state.models.find((one) => one.id === event.target.value) });
  });
  $("labels").addEventListener("change", (event) => change({ label: valueOf(event.target) }));
  $("label-search").addEventListener("input", (event) => filter(event.target.value));
  $("steps").addEventListener("change", (event) => {
    const steps = Number(event.target.value);
    change(state.mode === "refine" ? { refineSteps: steps } : { steps });
  });
  $("guidance").addEventListener("input", (event) => change({ guidance: Number(event.target.value) }));
  $("seed").addEventListener("input", typed);
  $("seed").addEventListener("blur", showSeed);
  $("seed-before").addEventListener("click", () => change({ seed: shifted(state.seed, -1) }));
  $("seed-next").addEventListener("click", () => change({ seed: shifted(state.seed, 1) }));
  $("seed-draw").addEventListener("click", () => change({ seed: drawSeed() }));
  onChange((names) => {
    if (names.has("model")) showModel();
    if (names.has("seed") && document.activeElement !== $("seed")) showSeed();
    if (names.has("mode") || names.has("steps") || names.has("refineSteps")) showSteps();
    if (names.has("guidance")) showGuidance();
    if (names.has("label")) showLabel();
  });
  showModel();
  showSeed();
}

function typed(event) {
  const seed = parseSeed(event.target.value);
  $("seed-wrong").textContent = seed === null ? "A seed is a whole number from 0 to 9223372036854775807." : "";
  event.target.setAttribute("aria-invalid", String(seed === null));
  if (seed !== null) change({ seed });
}

function showSeed() {
  $("seed").value = state.seed;
  $("seed").removeAttribute("aria-invalid");
  $("seed-wrong").textContent = "";
}

export function showModel() {
  const model = state.model;
  const about = [
    model.method,
    model.image_shape ? `${model.image_shape[1]} × ${model.image_shape[0]} pixels` : `${model.z_shape[0]} coordinates`,
    model.licence,
  ];
  const [height, width] = model.image_shape ?? [1, 1];
  document.documentElement.style.setProperty("--ratio", `${width} / ${height}`);
  $("model-field").hidden = state.models.length < 2;
  $("model").replaceChildren(
    ...state.models.map((one) => h("option", { value: one.id, selected: one === model }, one.id)),
  );
  const said = about.filter((text) => text && text !== "unknown" && text !== "unspecified").join(" · ");
  $("about").replaceChildren(h("strong", {}, model.id), h("br"), said);
  $("tab-vary").hidden = isPoints();
  showLabels();
  showSteps();
  showGuidance();
}

function showSteps() {
  const chosen = state.mode === "refine" ? state.refineSteps : state.mode === "wall" ? state.model.steps[0] : state.steps;
  const choices = state.model.steps.map((steps) =>
    h("label", { title: plural(steps, "network evaluation") },
      h("input", { type: "radio", name: "steps", value: steps, checked: steps === chosen, disabled: state.mode === "wall" && steps !== chosen }),
      h("span", {}, String(steps))),
  );
  const focused = document.activeElement?.name === "steps";
  $("steps").replaceChildren(...choices);
  if (focused) $("steps").querySelector("input:checked")?.focus();
}

function showGuidance() {
  const range = state.model.guidance;
  $("guidance-field").hidden = range === null;
  if (range === null) return;
  const slider = $("guidance");
  Object.assign(slider, { min: range.min, max: range.max, step: "any" });
  slider.step = (range.max - range.min) / 40 || "any";
  slider.value = state.guidance;
  $("guidance-value").textContent = Number(state.guidance.toFixed(2));
}

const valueOf = (input) => (input.dataset.kind === ANY ? null : input.value);

function showLabels() {
  thumbs?.disconnect();
  thumbs = null;
  const { labels } = state.model;
  $("label-field").hidden = !labels.length;
  $("label-search").hidden = labels.length < SEARCH_FROM;
  $("label-search").value = "";
  $("labels").classList.toggle("plain", isPoints());
  if (!labels.length) {
    $("labels").replaceChildren();
    return;
  }
  const tile = (value, name, sign, kind) =>
    h("label", { class: "tile", title: name, "data-label": value },
      h("input", { type: "radio", name: "label", value, "data-kind": kind, checked: value === (state.label ?? ANY) }),
      h("span", { class: "thumb", "aria-hidden": "true" }, sign),
      h("span", { class: "name" }, name));
  $("labels").replaceChildren(
    tile(ANY, "any class", svg("svg", { class: "glyph" }, svg("use", { href: "#dice" })), ANY),
    ...labels.map((label) => tile(label, label, "", "label")),
    tile("none", "no class", "∅", "none"),
  );
  showLabel();
}

function showLabel() {
  for (const input of $("labels").querySelectorAll("input")) {
    const mine = state.label === null ? input.dataset.kind === ANY : input.dataset.kind !== ANY && input.value === state.label;
    input.checked = mine;
    if (mine) reveal(input.parentElement);
  }
}

// Scrolls the list, and not the page, so far that a tile of it is seen.
function reveal(tile) {
  const list = $("labels");
  const [box, frame] = [tile.getBoundingClientRect(), list.getBoundingClientRect()];
  const beyond = (low, high, from, to) => (low < from ? low - from : high > to ? high - to : 0);
  list.scrollLeft += beyond(box.left, box.right, frame.left, frame.right);
  list.scrollTop += beyond(box.top, box.bottom, frame.top, frame.bottom);
}

function filter(text) {
  const wanted = text.trim().toLowerCase();
  for (const tile of $("labels").children) tile.hidden = !tile.title.toLowerCase().includes(wanted);
}

// The classes' pictures, made by the server as they come into view, while nothing more urgent waits. The browser and
// the server keep them.
export function fetchThumbs() {
  if (thumbs || isPoints() || !state.model.labels.length) return;
  const model = state.model;
  const wanted = [];
  let running = 0;
  const next = async () => {
    if (running >= THUMBS_AT_ONCE || !wanted.length || state.model !== model) return;
    running++;
    const tile = wanted.shift();
    try {
      const { blob } = await patiently(() => fetched("generate", {
        label: tile.dataset.label,
        seed: THUMB_SEED,
        steps: model.default_steps,
        format: "webp",
        priority: "batch",
        model: state.models.length > 1 ? model.id : null,
      }), undefined, () => {});
      tile.querySelector(".thumb").replaceChildren(image(blob, ""));
    } catch {
      wanted.length = 0; // a class without a picture still has its name; what is wrong is said where it matters
    }
    running--;
    next();
  };
  thumbs = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      thumbs?.unobserve(target);
      wanted.push(target);
      next();
    }
  }, { rootMargin: "100px" });
  for (const tile of $("labels").querySelectorAll(".tile")) {
    if (tile.querySelector("input").dataset.kind === "label") thumbs.observe(tile);
  }
}
