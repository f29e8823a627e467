// What N Euler steps along the exact velocities miss.

import { $, h, plural, svg } from "./dom.js";
import { Plane, draggable } from "./plane.js";
import { apart, density, euler, flow, normals, ring } from "./truth.js";

const COUNTS = [1, 2, 4, 8, 16, 32, 64];
const SAMPLES = 60;

const mixture = ring(8);
let z = [0.3, -0.22];
let exact = [];

function draw() {
  const steps = COUNTS[Number($("euler-steps").value)];
  const plane = new Plane($("euler"));
  plane.shade((place) => density(mixture, place, 0.0));
  const taken = euler(mixture, z, 1, 0, steps);
  plane.path(exact, "good", 2.2);
  plane.path(taken, "network", 1.6, [5, 4]);
  plane.dots(taken, "network", 3.4, 1);
  plane.dots([exact.at(-1)], "good", 5, 1);
  plane.name(z, "noise", "ink");
  const missed = apart(taken.at(-1), exact.at(-1));
  $("euler-value").textContent = plural(steps, "step");
  $("euler-told").textContent =
    `${plural(steps, "Euler step")} end ${missed.toFixed(2)} from where the flow ends (the ring's radius is 2). ` +
    (steps === 1 ? "One step goes to the mean of the data, the middle of the ring, from wherever it starts." : "");
  mark(steps);
}

// Mean miss over samples against N, on logarithmic axes.
function curve() {
  const starts = normals(SAMPLES, 5);
  const ends = starts.map((start) => flow(mixture, start, 1, 0, 200).at(-1));
  const missed = COUNTS.map(
    (steps) => starts.reduce((sum, start, i) => sum + apart(euler(mixture, start, 1, 0, steps).at(-1), ends[i]), 0) / SAMPLES,
  );
  const [wide, high, left, low] = [300, 150, 34, 124];
  const x = (i) => left + (i * (wide - left - 14)) / (COUNTS.length - 1);
  const y = (value) => 12 + ((Math.log10(3) - Math.log10(value)) * (low - 12)) / (Math.log10(3) - Math.log10(0.01));
  const line = svg("polyline", { points: missed.map((value, i) => `${x(i)},${y(value)}`).join(" "), class: "curve" });
  const ticks = COUNTS.map((count, i) => svg("text", { x: x(i), y: high - 8, class: "tick middle" }, String(count)));
  const rules = [1, 0.1, 0.01].flatMap((value) => [
    svg("line", { x1: left, x2: wide - 8, y1: y(value), y2: y(value), class: "rule" }),
    svg("text", { x: left - 6, y: y(value) + 4, class: "tick end" }, String(value)),
  ]);
  const dots = missed.map((value, i) => svg("circle", { cx: x(i), cy: y(value), r: 3.5, class: "dot-mark" }));
  const picture = $("euler-curve");
  picture.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  picture.replaceChildren(...rules, line, ...dots, ...ticks);
  const cells = COUNTS.map((count, i) => h("tr", {}, h("th", { scope: "row" }, String(count)), h("td", {}, missed[i].toFixed(3))));
  $("euler-table").replaceChildren(...cells);
}

function mark(steps) {
  $("euler-curve")
    .querySelectorAll("circle")
    .forEach((dot, i) => dot.classList.toggle("chosen", COUNTS[i] === steps));
}

function move(to) {
  z = to;
  exact = flow(mixture, z, 1, 0);
  draw();
}

export function startDiscretise() {
  curve();
  $("euler-steps").max = COUNTS.length - 1;
  $("euler-steps").addEventListener("input", draw);
  draggable($("euler"), () => z, move);
  move(z);
  return draw;
}
