// The marginal velocity field: one destination makes it even, several make it turn.

import { $, calm } from "./dom.js";
import { Plane } from "./plane.js";
import { flow, normals, ring, velocity } from "./truth.js";

const PARTICLES = 90;
const GRID = 13;
const SECONDS = 6; // from noise to data

const NARROW = 0.02; // std of a destination that stands alone: as wide as the others, its paths would bend at their end

// What the noise flows to, for each choice.
export const destinations = (count) => ring(count, count === 1 ? NARROW : undefined);

let mixture = destinations(3);
let paths = [];
let playing = 0;

const time = () => 1 - Number($("field-time").value) / 100;

function draw() {
  const t = time();
  const plane = new Plane($("field"));
  for (let row = 0; row < GRID; row++) {
    for (let column = 0; column < GRID; column++) {
      const z = [column, row].map((i) => ((i + 0.5) / GRID) * 6 - 3);
      const [x, y] = velocity(mixture, z, t);
      const length = Math.hypot(x, y) || 1;
      const shown = Math.min(0.36, 0.12 * length) / length;
      plane.arrow(z, [-shown * x, -shown * y], "edge"); // towards the data, against growing t
    }
  }
  plane.dots(mixture.means, "encode", 7, 0.9);
  const place = (path) => path[Math.min(path.length - 1, Math.round((1 - t) * (path.length - 1)))];
  for (const path of paths.slice(0, 24)) plane.path(path.slice(0, Math.round((1 - t) * (path.length - 1)) + 1), "network", 0.7);
  plane.dots(paths.map(place), "network", 2.6, 0.9);
  $("field-value").textContent = `t = ${t.toFixed(2)}`;
}

function choose() {
  mixture = destinations(Number(document.querySelector("[name=candidates]:checked").value));
  paths = normals(PARTICLES, 3).map((z) => flow(mixture, z, 1, 0, 120));
  const told = {
    1: "One destination, hardly wider than a point: until the last moment every arrow points there, paths are all but straight, and a single step ends within a few hundredths of where the flow does.",
    3: "Three: at t = 1 all arrows point to the middle, since nothing is decided; paths turn as one destination wins.",
    5: "Five: more to choose from, sharper turns, and more steps for whoever only knows the arrows.",
  };
  $("field-told").textContent = told[mixture.means.length];
  draw();
}

function play() {
  cancelAnimationFrame(playing);
  const begun = performance.now();
  const frame = (now) => {
    const share = Math.min(1, (now - begun) / (1000 * SECONDS));
    $("field-time").value = Math.round(100 * share);
    draw();
    if (share < 1) playing = requestAnimationFrame(frame);
  };
  playing = requestAnimationFrame(frame);
}

export function startField() {
  for (const input of document.querySelectorAll("[name=candidates]")) input.addEventListener("change", choose);
  $("field-time").addEventListener("input", () => {
    cancelAnimationFrame(playing);
    draw();
  });
  $("field-play").addEventListener("click", play);
  $("field-play").hidden = calm.matches;
  choose();
  return draw;
}
