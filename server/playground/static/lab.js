// The lab: the figures of the family, alive. Two need no model; the others ask those of points in the plane served here.

import { json } from "./api.js";
import { choose, startCompose } from "./compose.js";
import { redraw, startDensities } from "./densities.js";
import { startDiscretise } from "./discretise.js";
import { $, h } from "./dom.js";
import { startField } from "./field.js";
import { setUpKey } from "./key.js";
import { onReturn, quiet, sayError } from "./messages.js";

let models = [];
const drawings = [startField(), startDiscretise(), startCompose(), () => redraw(models)];

async function load() {
  try {
    const { document: found } = await json("v1/models");
    models = found.data.filter((model) => model.kind === "points" && model.z_shape[0] === 2);
    quiet();
  } catch (error) {
    sayError(error, load);
    return;
  }
  $("no-models").hidden = models.length > 0;
  for (const part of document.querySelectorAll(".of-models")) part.hidden = !models.length;
  if (!models.length) return;
  $("model").replaceChildren(...models.map((model) => h("option", { value: model.id }, model.id)));
  choose(models[0]);
  startDensities(models);
}

$("model").addEventListener("change", () => choose(models.find((model) => model.id === $("model").value)));

setUpKey(load);

const again = () => drawings.forEach((draw) => draw());
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(again, 120);
});
new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
onReturn(load);
load();
