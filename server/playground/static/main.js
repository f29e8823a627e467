// The playground: loads what is served, and does in each mode what the choices say.

import { Gone, Refused, key, pause } from "./api.js";
import { setUpCall, showCall } from "./call.js";
import { compare, compared, glance, setUpCompare } from "./compare.js";
import { fetchThumbs, setUpControls, showModel } from "./controls.js";
import { $ } from "./dom.js";
import { interpolate, setUpInterpolate } from "./interpolate.js";
import { setUpKeyboard, showMode } from "./keyboard.js";
import { setUpLive } from "./live.js";
import { onReturn, quiet, say, sayError, sayWait } from "./messages.js";
import { refine, setUpRefine } from "./refine.js";
import { loadModels, onChange, state } from "./state.js";
import { forget, setUpVary, showStrength, vary } from "./vary.js";
import { setUpWall } from "./wall.js";

const AGAIN = 0.5; // seconds between two looks for the models of a server that is starting
const SETTLED = 120; // ms without another change, before the server is asked

const runs = { compare, refine, vary, interpolate }; // the wall waits for its button
const shown = {}; // mode -> what its pictures were made of
let ready = false;
let timer;

// Which choices a mode's pictures depend on.
function wanted(mode) {
  const { model, label, seed, guidance, steps, refineSteps, seedTo, labelTo, strength, frames } = state;
  const own = { compare: compared(), refine: [refineSteps], vary: [steps, strength], interpolate: [steps, seedTo, labelTo, frames] };
  return [model.fingerprint, label, seed, guidance, ...own[mode]].join("\n");
}

async function run() {
  const mode = state.mode;
  const mine = mode in runs ? wanted(mode) : null;
  if (mine !== null && shown[mode] !== mine) {
    for (const other of Object.values(runs)) other.stop();
    shown[mode] = mine;
    const done = await runs[mode]();
    if (!done && shown[mode] === mine) delete shown[mode];
  } else runs[mode]?.expect(false);
  fetchThumbs();
}

// Everything that is on screen was made by a server, or with a key, that is no more.
function forgetAll() {
  for (const mode of Object.keys(shown)) delete shown[mode];
}

async function begin() {
  try {
    while (!(await loadModels())) {
      setUpLive(begin);
      say("wait", "The server is starting: no model is ready yet.");
      await pause(AGAIN);
    }
  } catch (error) {
    if (error instanceof Refused && error.status === 503) {
      sayWait(error, error.retryAfter ?? 1);
      await pause(error.retryAfter ?? 1);
      return begin();
    }
    setUpLive(begin); // it needs no key
    return sayError(error, begin);
  }
  quiet();
  if (ready) {
    forgetAll();
    showModel();
  } else {
    ready = true;
    setUp();
    glance();
    await setUpLive(begin);
  }
  return run();
}

function setUp() {
  setUpControls();
  setUpCompare();
  setUpRefine();
  setUpVary(showCall);
  setUpInterpolate();
  setUpWall(showCall);
  setUpCall();
  showMode();
  showStrength();
  showCall();
  onChange((names) => {
    if (names.has("mode")) showMode();
    if (names.has("strength")) showStrength();
    if (names.has("model")) forget();
    showCall();
    const { mode } = state;
    if (mode in runs && shown[mode] !== wanted(mode)) runs[mode].expect(true);
    clearTimeout(timer);
    timer = setTimeout(run, names.has("mode") ? 0 : SETTLED);
  });
}

function showKey() {
  $("key").hidden = !key.get() && $("message").dataset.kind !== "key";
}

setUpKeyboard(() => {
  showKey();
  begin();
});
new MutationObserver(showKey).observe($("message"), { attributes: true });
showKey();
onReturn(begin);
addEventListener("hashchange", () => location.reload()); // somebody else's link in this tab
await begin();
