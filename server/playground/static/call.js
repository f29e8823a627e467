// What is on screen, as a call that a program makes.

import { base, query } from "./api.js";
import { compared } from "./compare.js";
import { $ } from "./dom.js";
import { wayFields } from "./interpolate.js";
import { say } from "./messages.js";
import { fileName } from "./samples.js";
import { fields, hasKey, isPoints, state } from "./state.js";
import { sourceName } from "./vary.js";
import { wallFields } from "./wall.js";

const POINTS_SHOWN = 64;

// The text of a call: `kind` is curl or python.
export function call(kind) {
  const stem = fileName({ label: state.label ?? "", seed: state.seed }, "").slice(0, -1);
  const end = isPoints() ? "json" : "png";
  return { curl, python }[kind][state.mode](stem, end);
}

function curlCommand(path, asked, ...more) {
  const lines = [`'${base}/${path}?${query(asked)}'`, ...more];
  if (hasKey()) lines.push('-H "authorization: Bearer $LONGJUMP_KEY"');
  return `curl ${lines.join(" \\\n  ")}`;
}

// For the shell.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// A file's name as `curl -F` reads it: where it has a comma or a semicolon, quotes keep it together.
const formName = (name) => (/[,;"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name);

const many = () => (isPoints() ? { n: POINTS_SHOWN } : {});

const curl = {
  compare(stem, end) {
    const all = compared();
    const asked = { ...fields(many()), steps: "STEPS" };
    return curlCommand("generate", asked, `-o '${stem}-#1.${end}'`).replace("STEPS", `{${all.join(",")}}`);
  },
  refine: () => curlCommand("generate", fields({ steps: state.refineSteps, stream: "every" })).replace("curl", "curl -N"),
  vary(stem) {
    const asked = fields({ steps: state.steps, strength: state.strength, n: 8 });
    return curlCommand("variations", asked, `-F image=@${quoted(formName(sourceName()))}`, `-o '${stem}-variations.png'`);
  },
  interpolate: (stem, end) => curlCommand("interpolate", wayFields(), `-o '${stem}-to-${state.seedTo}.${end}'`),
  wall: (stem, end) => curlCommand("generate", wallFields(), `-o '${stem}-wall.${end}'`),
};

// Keyword arguments of the client's methods.
const named = (asked, ...without) =>
  Object.entries(asked)
    .filter(([name, value]) => value !== null && value !== undefined && !without.includes(name))
    .map(([name, value]) => `${name}=${typeof value === "string" ? JSON.stringify(value) : value}`)
    .join(", ");

function program(lines) {
  const key = hasKey() ? ', api_key=os.environ["LONGJUMP_KEY"]' : "";
  return [
    ...(hasKey() ? ["import os", ""] : []),
    "from longjump_client import Client",
    "",
    `with Client("${base}"${key}) as client:`,
    ...lines.map((line) => `    ${line}`),
    "",
  ].join("\n");
}

const python = {
  compare: (stem, end) => program([
    `for steps in (${compared().join(", ")},):`,
    `    made = client.generate(${named(fields(many()))}, steps=steps)`,
    `    made.save(f"${stem}-{steps}.${end}")`,
  ]),
  refine: (stem, end) => program([
    `for shown in client.stream(every_step=True, ${named(fields({ steps: state.refineSteps }))}):`,
    isPoints() ? "    print(shown.steps, shown.data)" : `    shown.save(f"${stem}-{shown.steps}.${end}")`,
  ]),
  vary: (stem) => program([
    `picture = open(${JSON.stringify(sourceName())}, "rb").read()`,
    `made = client.variations(picture, ${state.strength}, n=8, ${named(fields({ steps: state.steps }))})`,
    `made.save("${stem}-variations.png")`,
  ]),
  interpolate: (stem, end) => program([
    `way = client.interpolate(${state.seed}, ${state.seedTo}, ${named(wayFields(), "seed", "seed_to")})`,
    `way.save("${stem}-to-${state.seedTo}.${end}")`,
  ]),
  wall: (stem, end) => program([
    `wall = client.generate(${named(wallFields())})`,
    `wall.save("${stem}-wall.${end}")`,
  ]),
};

const chosen = () => document.querySelector("#call-kinds input:checked").value;

export function showCall() {
  $("call").textContent = call(chosen());
}

export function setUpCall() {
  $("call-kinds").addEventListener("change", showCall);
  $("copy").addEventListener("click", copy);
}

let copied;

async function copy() {
  try {
    await navigator.clipboard.writeText($("call").textContent);
  } catch {
    // Pages that came over plain HTTP from elsewhere have no clipboard; the text is marked instead.
    getSelection().selectAllChildren($("call"));
    say("wait", "This page may not write to the clipboard here: the call is marked, so that you can copy it.");
    return;
  }
  $("copy").textContent = "Copied";
  clearTimeout(copied); // of a copy a moment ago, whose word would end this one's
  copied = setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}
