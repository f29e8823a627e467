// One request that sends a picture after each step.

import { ask, events, Refused } from "./api.js";
import { $, h, milliseconds, plural } from "./dom.js";
import { runner } from "./run.js";
import { fromJson, show } from "./samples.js";
import { extent } from "./scatter.js";
import { fields, isPoints, state } from "./state.js";

export const refine = runner($("refine"), async (signal, patient) => {
  const steps = state.refineSteps;
  const start = { at: 0 };
  const response = await patient(() => {
    start.at = performance.now();
    return ask("generate", fields({ steps, stream: "every" }), { signal, fresh: true });
  });
  const trail = $("refine-trail");
  trail.replaceChildren();
  const path = [];
  for await (const [name, data] of events(response, signal)) {
    if (name === "error") throw new Refused(data.status, data);
    if (name !== "image") continue;
    const after = performance.now() - start.at;
    const sample = { ...fromJson(data, isPoints() ? { points: data.points[0] } : data), label: data.label_name, seed: state.seed };
    if (sample.points) path.push(sample.points[0]);
    const shown = sample.points ? { ...sample, points: [...path] } : sample;
    $("refine-big").replaceChildren(show(shown, sample.points && extent([path]), { path: true }));
    trail.append(h("li", data.last ? { class: "last" } : {},
      h("span", { class: "sample" }, show(shown, sample.points && extent([path]), { path: true })),
      h("span", { class: "steps" }, data.last ? plural(steps, "step") : `after ${data.steps}`),
      h("span", { class: "note" }, milliseconds(after))));
  }
});

export function setUpRefine() {
  $("refine-again").addEventListener("click", refine);
}
