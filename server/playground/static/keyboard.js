// The tabs, the dialogs, and single keys, which can be switched off.

import { $ } from "./dom.js";
import { setUpKey } from "./key.js";
import { change, drawSeed, isPoints, MODES, shifted, state } from "./state.js";

const SINGLE_KEYS = "longjump-single-keys";

const stored = {
  get: (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      localStorage.setItem(name, value);
    } catch {
      // Storage may be forbidden; the choice then lasts as long as the page.
    }
  },
};

export function showMode() {
  for (const mode of MODES) {
    const chosen = mode === state.mode;
    $(mode).hidden = !chosen;
    $(`tab-${mode}`).setAttribute("aria-selected", String(chosen));
    $(`tab-${mode}`).tabIndex = chosen ? 0 : -1;
  }
}

function setUpTabs() {
  const modes = () => MODES.filter((mode) => mode !== "vary" || !isPoints());
  for (const mode of MODES) $(`tab-${mode}`).addEventListener("click", () => change({ mode }));
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const all = modes();
    const at = all.indexOf(state.mode);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    change({ mode: all[(to + all.length) % all.length] });
    $(`tab-${state.mode}`).focus();
  });
}

function setUpSingleKeys() {
  const box = $("shortcuts-on");
  box.checked = stored.get(SINGLE_KEYS) !== "off";
  box.addEventListener("change", () => stored.set(SINGLE_KEYS, box.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    if (!box.checked || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    // Radios and sliders take arrows, and let letters pass.
    if (event.target.matches("select, textarea, input:not([type=radio], [type=range], [type=checkbox])")) return;
    const act = {
      n: () => change({ seed: shifted(state.seed, 1) }),
      b: () => change({ seed: shifted(state.seed, -1) }),
      r: () => change({ seed: drawSeed() }),
      "?": () => $("shortcuts-dialog").showModal(),
    }[event.key];
    const mode = MODES[Number(event.key) - 1];
    if (act) act();
    else if (mode && !(mode === "vary" && isPoints())) change({ mode });
    else return;
    event.preventDefault();
  });
}

// The link goes there without the address, which holds the choices.
function setUpSkip() {
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("stage").focus();
    $("stage").scrollIntoView();
  });
}

function setUpDialogs(onKey) {
  $("shortcuts").addEventListener("click", () => $("shortcuts-dialog").showModal());
  setUpKey(onKey);
}

// `onKey()` is told when another key is to be used.
export function setUpKeyboard(onKey) {
  setUpTabs();
  setUpSingleKeys();
  setUpSkip();
  setUpDialogs(onKey);
}
