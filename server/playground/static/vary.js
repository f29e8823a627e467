// Pictures like one that was uploaded, or that was made here.

import { json, Refused, several } from "./api.js";
import { current } from "./compare.js";
import { $, h, save } from "./dom.js";
import { say } from "./messages.js";
import { runner } from "./run.js";
import { fileName, fromJson, generate, image, show } from "./samples.js";
import { change, fields, state } from "./state.js";

const VARIATIONS = 8;
const OF_THE_FILE = [400, 413, 415, 422]; // statuses of an upload that the server does not take, and never will

let source = null; // a sample, or { blob, name } of an upload
let before = null; // the source before an upload that the server has not taken yet
let told = () => {};

export const sourceName = () => (source ? (source.name ?? fileName(source)) : "picture.png");

export const vary = runner($("vary"), async (signal, patient) => {
  if (!source) take(await made(signal, patient));
  // No class means no class here: one that is drawn would pull the picture away from what it shows.
  const asked = fields({ steps: state.steps, strength: state.strength });
  const options = { signal, body: source.blob, headers: { "content-type": source.blob.type } };
  let document;
  try {
    ({ document } = await patient(() => several(VARIATIONS, (n) => json("variations", { ...asked, n }, options))));
  } catch (error) {
    if (before && error instanceof Refused && OF_THE_FILE.includes(error.status)) take(before);
    throw error;
  }
  before = null;
  const tiles = document.images.map((entry, i) => {
    const sample = { ...fromJson(document, entry), label: entry.label_name, seed: state.seed + BigInt(i) };
    const name = `Go on from variation ${i + 1}`;
    return h("button", { type: "button", class: "sample", "aria-label": name, title: name, onclick: () => {
      take(sample);
      vary();
    } }, show(sample));
  });
  $("variations").replaceChildren(...tiles);
});

const made = async (signal, patient) => current() ?? patient(() => generate({ steps: state.steps }, signal));

// What was varied before belongs to another model.
export function forget() {
  source = before = null;
  $("variations").replaceChildren();
  $("vary-source").replaceChildren();
}

function take(sample) {
  source = sample;
  before = null;
  const alt = sample.name ? `Your picture, ${sample.name}` : `The picture that is varied: ${sample.label ?? ""} seed ${sample.seed}`;
  $("vary-source").replaceChildren(image(source.blob, alt));
  if (sample.name) $("vary-source").firstChild.classList.remove("pixels");
  told();
}

// From another way to look.
export function varyThis(sample) {
  if (!sample?.blob) return;
  take(sample);
  if (state.mode === "vary") vary();
  else change({ mode: "vary" });
}

async function upload(file) {
  if (!file) return;
  if (!/^image\/(png|jpeg|webp)$/.test(file.type)) {
    say("error", `${file.name} is ${file.type || "of no type that is known"}; a picture is a PNG, JPEG or WebP file.`);
    return;
  }
  try {
    (await createImageBitmap(file)).close();
  } catch {
    say("error", `${file.name} cannot be read as a picture; its bytes are not those of a whole PNG, JPEG or WebP file.`);
    return;
  }
  const last = source;
  take({ blob: file, name: file.name });
  before = last;
  vary();
}

// `onSource()` is told when another picture is varied, of which `sourceName` is another.
export function setUpVary(onSource) {
  told = onSource;
  const drop = $("drop");
  $("upload").addEventListener("change", (event) => {
    upload(event.target.files[0]);
    event.target.value = ""; // the same file again is a change again
  });
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    upload(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file && state.mode === "vary") upload(file);
  });
  $("strength").addEventListener("input", (event) => change({ strength: Number(event.target.value) }));
  $("vary-made").addEventListener("click", () => {
    source = null;
    vary();
  });
  $("vary-save").addEventListener("click", () => source && save(source.blob, sourceName()));
  $("compare-vary").addEventListener("click", () => varyThis(current()));
}

export function showStrength() {
  $("strength").value = state.strength;
  $("strength-value").textContent = state.strength.toFixed(2);
}
