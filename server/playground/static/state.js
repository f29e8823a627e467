// What is chosen, kept in the address, so that a link shows somebody else the same.

import { json, key } from "./api.js";

const SEED_BOUND = 2n ** 63n;
const DRAWN_SEED_BOUND = 2 ** 32; // seeds that are drawn stay short enough to read out

export const MODES = ["compare", "refine", "vary", "interpolate", "wall"];

// Seeds are BigInt: they go beyond what a Number holds.
export const state = {
  models: [],
  model: null,
  mode: "compare",
  label: null, // null: each picture draws one from its seed
  labelTo: null,
  seed: 7n, // as in index.html
  seedTo: 8n,
  steps: 1,
  refineSteps: 1, // of their own, because one step has nothing to refine
  guidance: null, // null: the model takes none
  strength: 0.7,
  frames: 8,
};

const listeners = new Set();

// `listener(names)` is told of every change, with the names of what changed.
export const onChange = (listener) => listeners.add(listener);

export function change(values) {
  const names = Object.keys(values).filter((name) => state[name] !== values[name]);
  if (!names.length) return;
  Object.assign(state, values);
  if (names.includes("model")) names.push(...settle());
  write();
  for (const listener of listeners) listener(new Set(names));
}

// A seed from what somebody typed; null if it is none.
export function parseSeed(text) {
  const digits = text.trim();
  if (!/^\d{1,19}$/.test(digits)) return null;
  const seed = BigInt(digits);
  return seed < SEED_BOUND ? seed : null;
}

export const drawSeed = () => BigInt(Math.floor(Math.random() * DRAWN_SEED_BOUND));

export const shifted = (seed, by) => ((seed + BigInt(by)) % SEED_BOUND + SEED_BOUND) % SEED_BOUND;

// The models that are served; the one of the address is chosen if it is there, else the first.
export async function loadModels() {
  const { document } = await json("v1/models");
  const wanted = state.model?.id ?? read().get("model");
  const models = document.data;
  state.models = models;
  if (!models.length) return false;
  const model = models.find((one) => one.id === wanted) ?? models[0];
  if (state.model) change({ model });
  else {
    state.model = model;
    restore();
    settle();
  }
  return true;
}

// The fields of a request that all endpoints share.
export function fields({ label = state.label, ...more } = {}) {
  const several = state.models.length > 1 && state.model !== state.models[0];
  return { label, seed: state.seed, guidance: state.guidance, model: several ? state.model.id : null, ...more };
}

export const isPoints = () => state.model.kind === "points";

export const fewest = () => state.model.steps[0];

// Values that the model does not take give way to those that it does.
function settle() {
  const { labels, steps, default_steps: usual, guidance } = state.model;
  const before = { ...state };
  const known = (label) => (label !== null && label !== "none" && !labels.includes(label) ? null : label);
  state.label = labels.length ? known(state.label) : null;
  state.labelTo = labels.length ? known(state.labelTo) : null;
  if (!steps.includes(state.steps)) state.steps = usual;
  if (!steps.includes(state.refineSteps) || state.refineSteps === steps[0]) state.refineSteps = steps[steps.length - 1];
  if (guidance === null) state.guidance = null;
  else if (state.guidance === null || !(state.guidance >= guidance.min && state.guidance <= guidance.max)) {
    state.guidance = guidance.default;
  }
  if (state.model.kind === "points" && state.mode === "vary") state.mode = "compare";
  return Object.keys(state).filter((name) => state[name] !== before[name]);
}

function read() {
  return new URLSearchParams(location.hash.slice(1));
}

function restore() {
  const given = read();
  const number = (name, fallback) => (given.has(name) && given.get(name) !== "" ? Number(given.get(name)) : fallback);
  if (MODES.includes(given.get("mode"))) state.mode = given.get("mode");
  state.label = given.get("label");
  state.labelTo = given.get("label_to");
  state.seed = parseSeed(given.get("seed") ?? "") ?? state.seed;
  state.seedTo = parseSeed(given.get("seed_to") ?? "") ?? shifted(state.seed, 1);
  state.steps = number("steps", state.model.default_steps);
  state.refineSteps = number("refine_steps", fewest());
  state.guidance = number("guidance", null);
  const usual = state.model.span === "dyadic" ? 0.5 : state.strength;
  const strength = number("strength", usual);
  state.strength = strength > 0 && strength <= 1 ? strength : usual;
  const frames = number("frames", state.frames);
  state.frames = Number.isInteger(frames) && frames >= 2 && frames <= 64 ? frames : 8;
}

function write() {
  const kept = new URLSearchParams({ mode: state.mode, seed: state.seed, steps: state.steps });
  const more = {
    model: state.model !== state.models[0] ? state.model?.id : null,
    label: state.label,
    guidance: state.guidance,
    refine_steps: state.mode === "refine" ? state.refineSteps : null,
    strength: state.mode === "vary" ? state.strength : null,
    seed_to: state.mode === "interpolate" ? state.seedTo : null,
    label_to: state.mode === "interpolate" ? state.labelTo : null,
    frames: state.mode === "interpolate" ? state.frames : null,
  };
  for (const [name, value] of Object.entries(more)) if (value !== null && value !== undefined) kept.set(name, value);
  history.replaceState(null, "", `#${kept}`);
}

export const hasKey = () => key.get() !== "";
