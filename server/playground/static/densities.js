// Each served method's samples at 1, 2, 4 and 8 steps, over the density that they should have.

import { json, patiently, several } from "./api.js";
import { $, h } from "./dom.js";
import { sayError, sayWait } from "./messages.js";
import { Plane } from "./plane.js";
import { density, mixtureOf } from "./truth.js";

const COUNTS = [1, 2, 4, 8];
const EACH = 64; // samples of a request, the most that a server takes unless told otherwise
const REQUESTS = 6;

const found = new Map(); // `${model} ${steps}` -> points

async function samples(model, steps) {
  const points = [];
  while (points.length < EACH * REQUESTS) {
    const fields = { model: model.id, steps, seed: points.length, label: "none" };
    const part = (n) => json("generate", { ...fields, n });
    const { document } = await patiently(() => several(EACH, part), undefined, sayWait);
    points.push(...document.points);
  }
  return points;
}

function drawOne(canvas, model, points) {
  const plane = new Plane(canvas);
  const mixture = mixtureOf(model);
  if (mixture) plane.shade((place) => density(mixture, place, 0), 48);
  plane.dots(points ?? [], "ink", 1.3, 0.7);
}

export async function startDensities(models) {
  const rows = models.map((model) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, model.method ?? model.id, h("span", { class: "note" }, model.id)),
      ...COUNTS.map((steps) =>
        h(
          "td",
          {},
          model.steps.includes(steps)
            ? h("canvas", {
                class: "small-plane",
                "data-model": model.id,
                "data-steps": steps,
                role: "img",
                "aria-label": `${EACH * REQUESTS} samples of ${model.id} at ${steps} steps`,
              })
            : h("span", { class: "note" }, "not supported"),
        ),
      ),
    ),
  );
  $("densities").replaceChildren(...rows);
  redraw(models);
  try {
    for (const steps of COUNTS) {
      for (const model of models.filter((one) => one.steps.includes(steps))) {
        found.set(`${model.id} ${steps}`, await samples(model, steps));
        redraw([model], steps);
      }
    }
  } catch (error) {
    sayError(error, () => startDensities(models));
  }
}

export function redraw(models, only = null) {
  for (const canvas of document.querySelectorAll(".small-plane")) {
    const model = models.find((one) => one.id === canvas.dataset.model);
    const steps = Number(canvas.dataset.steps);
    if (model && (only === null || only === steps)) drawOne(canvas, model, found.get(`${model.id} ${steps}`));
  }
}
