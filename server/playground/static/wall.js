// One-step pictures, as fast as the server makes them.

import { bytes, json, patience, pause, several } from "./api.js";
import { $, plural } from "./dom.js";
import { sayError, quiet } from "./messages.js";
import { draw, extent } from "./scatter.js";
import { change, fewest, fields, isPoints, onChange, shifted, state } from "./state.js";

// Requests in flight. A browser opens six connections to a server; the others are for what a person asks meanwhile.
const IN_FLIGHT = 3;
const MOST_AT_ONCE = 16; // pictures of one request
const TILE = 40; // CSS pixels, about
const MOST_TILES = 400;
const POINTS = 4096;
const POINTS_AT_ONCE = 64;

const canvas = $("wall-canvas");
const context = canvas.getContext("2d");

let grid = { columns: 1, rows: 1, tile: 32, count: 1 };
let seeds = []; // of each tile
let labels = [];
let points = [];
let next = 7n; // the seed of the next fill, so that the server has not kept it
let cursor = -1;
let running = null;
let told = () => {};

// The request that is on screen.
export const wallFields = () => ({ ...fields({ steps: fewest() }), seed: seeds[0] ?? state.seed, n: atOnce });

let atOnce = 8;

function lay() {
  const shape = state.model.image_shape ?? [1, 1];
  const width = canvas.parentElement.clientWidth - 2 * parseFloat(getComputedStyle(canvas.parentElement).paddingLeft);
  const tile = Math.max(TILE, Math.min(96, shape[1] / 2));
  const columns = Math.max(4, Math.floor(width / tile));
  const rows = Math.max(4, Math.min(Math.floor(MOST_TILES / columns), Math.round((width * 0.5) / tile) + (width < 500 ? 8 : 0)));
  const size = Math.min(128, Math.max(32, shape[1]));
  grid = { columns, rows, tile: size, count: isPoints() ? POINTS : columns * rows };
  canvas.width = isPoints() ? 1 : columns * size;
  canvas.height = isPoints() ? 1 : rows * size;
  canvas.classList.toggle("pixels", shape[1] <= 96);
  context.imageSmoothingEnabled = shape[1] > 96;
  canvas.classList.toggle("cloud", isPoints());
  canvas.style.aspectRatio = isPoints() ? "1" : `${columns} / ${rows}`;
  seeds = [];
  labels = [];
  points = [];
  mark(-1);
}

export async function run() {
  if (running) {
    running.abort();
    return;
  }
  const mine = (running = new AbortController());
  lay();
  showRunning();
  const work = { asked: 0, made: 0, refused: 0, until: 0, start: performance.now(), goal: grid.count };
  atOnce = isPoints() ? POINTS_AT_ONCE : await ticks(mine.signal);
  try {
    await Promise.all(Array.from({ length: IN_FLIGHT }, () => fill(work, mine.signal)));
    quiet();
    if (!mine.signal.aborted) $("wall-note").textContent = isPoints() ? "Full." : "Full. Choose a picture with a click, or with the arrow keys and Enter.";
  } catch (error) {
    const stopped = mine.signal.aborted; // a body that is being read then ends in an error of the browser's own
    mine.abort(); // the other lanes
    if (!stopped) sayError(error, run);
  } finally {
    running = null;
    showRunning();
  }
}

export const stop = () => running?.abort();

// As many pictures in a request as the server evaluates at once.
async function ticks(signal) {
  try {
    const { document } = await json("v1/capacity", {}, { signal });
    const mine = document.models.find(({ model }) => model === state.model.id);
    return Math.max(1, Math.min(MOST_AT_ONCE, mine?.rows_per_tick ?? 8));
  } catch {
    return 8; // what is wrong shows with the first picture
  }
}

// One lane: request after request until the wall is full.
async function fill(work, signal) {
  while (!signal.aborted) {
    const on = $("wall-on").checked;
    if (work.asked >= work.goal && !on) return;
    const first = work.asked;
    const n = on ? atOnce : Math.min(atOnce, work.goal - first);
    const seed = next;
    work.asked += n;
    next = shifted(next, n);
    for (let done = 0; done < n && !signal.aborted; ) {
      const document = await patient(work, signal, n - done, shifted(seed, done));
      const made = (document.points ?? document.images).length;
      await place(document, first + done, shifted(seed, done), signal);
      done += made;
      work.made += made;
      $("wall-figures").textContent = figures(work);
    }
  }
}

// The reply to one request, after as much waiting as the server asks for.
async function patient(work, signal, n, seed) {
  for (;;) {
    const wait = (work.until - performance.now()) / 1000;
    if (wait > 0) await pause(wait, signal);
    try {
      // A batch request yields to those of people. Uncached, because the wall is to show how fast they are made.
      const asked = { ...fields({ steps: fewest() }), seed, priority: "batch" };
      const { document } = await several(n, (few) => json("generate", { ...asked, n: few }, { signal, fresh: true }));
      return document;
    } catch (error) {
      const seconds = patience(error);
      if (seconds === null) throw error;
      work.refused++;
      work.until = Math.max(work.until, performance.now() + 1000 * seconds);
      $("wall-note").textContent = `The server turned ${plural(work.refused, "request")} away and is given the time it asks for: ${error.message}.`;
    }
  }
}

async function place(document, first, seed, signal) {
  if (document.points) {
    points.push(...document.points);
    points = points.slice(-POINTS);
    draw(canvas, points, extent([points]));
    return;
  }
  const pictures = await Promise.all(document.images.map((entry) =>
    createImageBitmap(new Blob([bytes(entry.base64)], { type: document.media_type }))));
  if (signal.aborted) return;
  pictures.forEach((picture, i) => {
    const at = (first + i) % grid.count;
    seeds[at] = seed + BigInt(i);
    labels[at] = document.images[i].label_name;
    context.drawImage(picture, (at % grid.columns) * grid.tile, Math.floor(at / grid.columns) * grid.tile, grid.tile, grid.tile);
    picture.close();
  });
}

function figures({ made, start }) {
  const seconds = (performance.now() - start) / 1000;
  const what = isPoints() ? "points" : "pictures";
  return `${made} ${what} in ${seconds.toFixed(1)} s: ${Math.round(made / seconds)} a second`;
}

function showRunning() {
  told();
  $("wall-run").textContent = running ? "Stop" : seeds.length || points.length ? "Fill it again" : "Fill the wall";
}

// Marks a tile, as an outline marks an element.
function mark(at) {
  cursor = at;
  const box = $("wall-mark");
  box.hidden = at < 0;
  if (at < 0) return;
  box.style.width = `${100 / grid.columns}%`;
  box.style.height = `${100 / grid.rows}%`;
  box.style.left = `${(100 * (at % grid.columns)) / grid.columns}%`;
  box.style.top = `${(100 * Math.floor(at / grid.columns)) / grid.rows}%`;
  if (seeds[at] !== undefined && !running) $("wall-note").textContent = `${labels[at]}, seed ${seeds[at]}`;
}

function at(event) {
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * grid.columns);
  const y = Math.floor(((event.clientY - box.top) / box.height) * grid.rows);
  return x >= 0 && y >= 0 && x < grid.columns && y < grid.rows ? y * grid.columns + x : -1;
}

function choose(i) {
  if (isPoints() || seeds[i] === undefined) return;
  stop();
  change({ seed: seeds[i], steps: fewest(), mode: "compare" });
}

// `onRequest()` is told when what `wallFields` gives is another.
export function setUpWall(onRequest) {
  told = onRequest;
  $("wall-run").addEventListener("click", run);
  canvas.addEventListener("click", (event) => choose(at(event)));
  canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && !isPoints() && mark(at(event)));
  canvas.addEventListener("pointerleave", () => mark(-1));
  canvas.addEventListener("blur", () => mark(-1));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns };
    if (isPoints()) return;
    if (event.key in moves) {
      event.preventDefault();
      const to = cursor < 0 ? 0 : cursor + moves[event.key];
      if (to >= 0 && to < grid.count) mark(to);
    } else if (event.key === "Enter" && cursor >= 0) choose(cursor);
  });
  onChange((names) => {
    if (names.has("mode") && state.mode !== "wall") stop();
    if (state.mode === "wall" && names.has("mode") && !seeds.length && !points.length && !running) {
      next = state.seed;
      lay();
    }
    if (names.has("model") || names.has("label") || names.has("guidance") || names.has("seed")) {
      if (names.has("seed")) next = state.seed;
      stop();
      if (state.mode === "wall") lay();
      showRunning();
    }
  });
}
