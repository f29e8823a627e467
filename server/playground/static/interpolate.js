// The way from one seed to another.

import { fetched, json, patiently, several } from "./api.js";
import { $, calm, h, save } from "./dom.js";
import { sayError, sayWait } from "./messages.js";
import { runner } from "./run.js";
import { fromJson, show } from "./samples.js";
import { extent } from "./scatter.js";
import { change, drawSeed, fields, isPoints, onChange, parseSeed, state } from "./state.js";

const FRAME_SECONDS = 0.12;

let frames = [];
let playing = null;

// What the endpoint is asked for, beside how it is to be sent.
export const wayFields = () =>
  fields({ seed_to: state.seedTo, label_to: state.labelTo, n: state.frames, steps: state.steps });

export const interpolate = runner($("interpolate"), async (signal, patient) => {
  const { document } = await patient(() =>
    several(state.frames, (n) => json("interpolate", { ...wayFields(), n }, { signal })));
  const entries = isPoints() ? document.points.map((points) => ({ points })) : document.images;
  const common = isPoints() ? extent([document.points]) : null;
  frames = entries.map((entry, i) => ({ ...fromJson(document, entry), seed: state.seed, label: `picture ${i + 1} on the way` }));
  if (common) {
    frames = frames.map((frame, i) => ({ ...frame, points: document.points.slice(0, i + 1) }));
  }
  const tiles = frames.map((frame, i) =>
    h("button", { type: "button", class: "sample", "aria-label": `Picture ${i + 1} of ${frames.length}`, onclick: () => { stop(); place(i); } },
      show(frame, common, { path: true })));
  $("path-grid").replaceChildren(...tiles);
  $("path-at").max = frames.length - 1;
  $("path-big").replaceChildren(...frames.map((frame) => show(frame, common, { path: true })));
  place(0);
  if (!calm.matches && playing === null && state.mode === "interpolate") play();
});

function place(i) {
  $("path-at").value = i;
  $("path-at").setAttribute("aria-valuetext", `picture ${i + 1} of ${frames.length}`);
  [...$("path-big").children].forEach((one, j) => (one.hidden = i !== j));
  [...$("path-grid").children].forEach((tile, j) => tile.classList.toggle("chosen", i === j));
}

// To the end and back.
function play() {
  let at = Number($("path-at").value);
  let step = 1;
  playing = setInterval(() => {
    if (frames.length < 2) return;
    if (at + step < 0 || at + step >= frames.length) step = -step;
    at += step;
    place(at);
  }, 1000 * FRAME_SECONDS);
  showPlaying();
}

export function stop() {
  clearInterval(playing);
  playing = null;
  showPlaying();
}

function showPlaying() {
  $("path-play").textContent = playing === null ? "▶" : "❚❚";
  $("path-play").setAttribute("aria-label", playing === null ? "Play" : "Stop");
}

async function saveMoving() {
  try {
    const asked = { ...wayFields(), animate: true, format: "webp" };
    const { blob } = await patiently(() => fetched("interpolate", asked), undefined, sayWait);
    save(blob, `from-${state.seed}-to-${state.seedTo}.webp`);
  } catch (error) {
    sayError(error, saveMoving);
  }
}

export function showEnds() {
  if (document.activeElement !== $("seed-to")) $("seed-to").value = state.seedTo;
  const { labels } = state.model;
  $("label-to-field").hidden = !labels.length;
  $("label-to").replaceChildren(
    h("option", { value: "", selected: state.labelTo === null }, state.label === null ? "drawn from the seed" : "the same"),
    ...labels.map((label) => h("option", { value: label, selected: label === state.labelTo }, label)),
  );
  const choice = [...$("frames").options].find((option) => Number(option.value) === state.frames);
  if (!choice) $("frames").append(h("option", {}, String(state.frames)));
  $("frames").value = state.frames;
  $("path-save").hidden = isPoints();
}

export function setUpInterpolate() {
  $("seed-to").addEventListener("input", (event) => {
    const seed = parseSeed(event.target.value);
    event.target.setAttribute("aria-invalid", String(seed === null));
    if (seed !== null) change({ seedTo: seed });
  });
  $("seed-to").addEventListener("blur", (event) => {
    event.target.value = state.seedTo;
    event.target.removeAttribute("aria-invalid");
  });
  $("seed-to-draw").addEventListener("click", () => change({ seedTo: drawSeed() }));
  $("label-to").addEventListener("change", (event) => change({ labelTo: event.target.value || null }));
  $("frames").addEventListener("change", (event) => change({ frames: Number(event.target.value) }));
  $("path-at").addEventListener("input", (event) => {
    stop();
    place(Number(event.target.value));
  });
  $("path-play").addEventListener("click", () => (playing === null ? play() : stop()));
  $("path-save").addEventListener("click", saveMoving);
  onChange((names) => {
    if (names.has("mode") && state.mode !== "interpolate") stop();
    if (["model", "label", "seedTo", "labelTo", "frames"].some((name) => names.has(name))) showEnds();
  });
  showEnds();
}
