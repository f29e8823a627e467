// Two figures of a served model's jumps: along one trajectory, and over a triangle whose middle can be moved.

import { json } from "./api.js";
import { $ } from "./dom.js";
import { Plane, draggable, pointed } from "./plane.js";
import { latest, runner } from "./run.js";
import { apart, density, flow, mixtureOf } from "./truth.js";

const COUNTS = [1, 2, 4, 8];
const GRIP = 0.22; // how near to the middle of the triangle a pointer takes hold of it, in data units
const KNOWN = { any: "any jump", endpoint: "jumps to the data only", velocity: "velocities", dyadic: "jumps of halves" };

let model = null;
let mixture = null;
let start = [0.3, -0.22];
let shown = {}; // what was measured, and from which start

// A function that says where the model's map takes points from t to s.
function jumps(signal, patient) {
  return async (z, t, s) => {
    const body = JSON.stringify({ model: model.id, t, s, z });
    const options = { method: "POST", body, headers: { "content-type": "application/json" }, signal };
    const { document } = await patient(() => json("jump", {}, options));
    return document.z;
  };
}

// The split as the model knows it: a dyadic map has halves only.
function split() {
  const value = Number($("split").value) / 100;
  return model.span === "dyadic" ? 0.5 : value;
}

const measured = runner($("jumps-part"), async (signal, patient) => {
  const jump = jumps(signal, patient);
  const [from, m] = [start, split()];
  const found = { start: from, paths: {}, m };
  for (const steps of COUNTS) {
    if (model.span === "endpoint") {
      // From exact points of one trajectory to the data: a consistent map sends all of them to one place.
      if (!mixture) continue;
      const times = Array.from({ length: steps }, (_, i) => 1 - i / steps);
      const places = times.map((t) => (t === 1 ? from : flow(mixture, from, 1, t).at(-1)));
      const ends = await Promise.all(places.map((place, i) => jump([place], times[i], 0)));
      found.paths[steps] = { fan: places.map((place, i) => [place, ends[i][0]]) };
    } else {
      const path = [from];
      for (let i = 0; i < steps; i++) path.push((await jump([path[i]], 1 - i / steps, 1 - (i + 1) / steps))[0]);
      found.paths[steps] = { path };
    }
  }
  [found.direct] = await jump([from], 1, 0);
  if (model.span !== "endpoint") [found.half] = await jump([from], 1, m);
  else if (mixture) found.half = flow(mixture, from, 1, m).at(-1);
  if (found.half) [found.over] = await jump([found.half], m, 0);
  if (signal.aborted) return; // of a model that is no longer chosen
  shown = found;
  draw();
});

const measure = latest(measured);

// Where what is drawn begins: while another start is asked for, still the one that was measured.
const origin = () => shown.start ?? start;

function ground(canvas) {
  const plane = new Plane(canvas);
  if (mixture) {
    plane.shade((place) => density(mixture, place, 0));
    plane.path(flow(mixture, origin(), 1, 0), "good", 2.2);
  }
  return plane;
}

export function draw() {
  if (!model) return;
  const steps = COUNTS[Number($("jumps-steps").value)];
  $("jumps-value").textContent = `${steps} jump${steps === 1 ? "" : "s"}`;
  const plane = ground($("jumps"));
  const way = shown.paths?.[steps];
  if (way?.path) {
    plane.path(way.path, "network", 1.6, [5, 4]);
    plane.dots(way.path, "network", 3.6, 1);
  }
  for (const [from, to] of way?.fan ?? []) {
    plane.path([from, to], "network", 1.2, [5, 4]);
    plane.dots([to], "network", 3.6, 1);
  }
  plane.name(origin(), "noise", "ink");
  $("jumps-told").textContent = told(way);
  triangle();
}

function told(way) {
  if (!mixture) return "What this model's data were is not known here, so there is no exact trajectory.";
  if (!way) return "";
  if (way.fan) {
    const spread = Math.max(...way.fan.map(([, to]) => apart(to, way.fan[0][1])));
    return `A consistency map: from every point of the exact trajectory it should land in one place; these land up to ${spread.toFixed(2)} apart.`;
  }
  const end = way.path.at(-1);
  return `It lands ${apart(end, flow(mixture, origin(), 1, 0).at(-1)).toFixed(2)} from where the exact flow (green) ends.`;
}

function triangle() {
  const plane = ground($("triangle"));
  const { start: from, direct, half, over, m } = shown;
  $("split-value").textContent = `m = ${m?.toFixed(2) ?? ""}`;
  if (!direct) return;
  plane.path([from, direct], "network", 1.8);
  plane.dots([direct], "network", 5, 1);
  if (half) {
    plane.path([from, half, over], "encode", 1.8, [6, 4]);
    plane.dots([over], "encode", 4.5, 1);
    plane.dots([half], "encode", 7, 1);
    if (apart(half, from) > 0.3) plane.name(half, "m", "ink");
    $("triangle-told").textContent =
      `One jump and two end ${apart(direct, over).toFixed(3)} apart` +
      (model.span === "endpoint" ? ", the first leg being the exact flow, since this map only knows jumps to the data." : ".") +
      (model.span === "velocity" ? " Euler steps do not compose: a velocity is no jump." : "");
  }
  plane.name(from, "t = 1", "ink");
  plane.name(direct, "s = 0", "ink");
}

export function choose(found) {
  model = found;
  mixture = mixtureOf(model);
  shown = {};
  $("split").disabled = model.span === "dyadic";
  for (const mark of document.querySelectorAll(".of-models .exact")) mark.hidden = !mixture;
  $("model-told").textContent = `${model.method ?? "unknown method"}; it knows ${KNOWN[model.span]}.`;
  measured.stop(); // what it does is of the model before
  measure();
}

// What the triangle shows, for who wants to take hold of it.
export const middle = () => ({ start: shown.start, half: shown.half, direct: shown.direct });

// The time at which the way from the start to the landing is nearest to a place.
function moveSplit([x, y]) {
  const { start: from, direct } = shown;
  const [dx, dy] = [direct[0] - from[0], direct[1] - from[1]];
  const share = ((x - from[0]) * dx + (y - from[1]) * dy) / (dx * dx + dy * dy || 1);
  $("split").value = Math.round(100 * Math.max(0.05, Math.min(0.95, 1 - share)));
  measure();
}

export function startCompose() {
  $("jumps-steps").max = COUNTS.length - 1;
  $("jumps-steps").addEventListener("input", draw);
  $("split").addEventListener("input", measure);
  const move = (to) => {
    start = to;
    if (model) measure();
  };
  draggable($("jumps"), () => start, move);
  // In the triangle what is taken hold of is moved: the middle along its time, or else the start.
  let holdsSplit = false;
  $("triangle").addEventListener("pointerdown", (event) => {
    const { start: from, half } = shown;
    holdsSplit = Boolean(half) && !$("split").disabled && apart(pointed($("triangle"), event), half) < GRIP && apart(half, from) > GRIP / 2;
  });
  draggable($("triangle"), () => start, (to, dragged) => (dragged && holdsSplit ? moveSplit(to) : move(to)));
  return draw;
}
