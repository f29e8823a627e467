// The one place where the page says what is wrong and what happens next.

import { Gone, Refused, ask, base, pause } from "./api.js";
import { $, h } from "./dom.js";

const GONE_EVERY = 1; // seconds between two looks for a server that is gone

let waiting = false; // whether a server that is gone is being looked for
const returned = new Set();

// `listener()` is told when a server that was gone answers again.
export const onReturn = (listener) => returned.add(listener);

export function say(kind, text, ...actions) {
  const box = $("message");
  box.dataset.kind = kind;
  box.replaceChildren(
    h("p", {}, text),
    ...actions.map(([name, act]) => h("button", { type: "button", onclick: act }, name)),
  );
}

export function quiet() {
  if (waiting) return; // what it says is still true
  const box = $("message");
  delete box.dataset.kind;
  box.replaceChildren();
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/[.\s]+$/, "") + ".";

const round = (seconds) => (seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${Math.ceil(seconds)} s`);

// Before a wait that the server asked for.
export function sayWait(refused, seconds) {
  const why = refused.status === 429 ? "The server is at its limit and turns work away" : "The server is not ready";
  say("wait", `${why}. ${sentence(refused.message)} Trying again in ${round(seconds)}.`);
}

// What went wrong at last; `again` does it once more.
export function sayError(error, again) {
  if (error instanceof Gone) {
    lookOut();
    return;
  }
  if (!(error instanceof Refused)) {
    say("error", `What came back is not what was asked for. ${sentence(String(error?.message ?? error))}`);
    throw error;
  }
  if (error.status === 401) {
    say("key", "This server asks for an API key.", ["Enter a key", () => $("key").click()]);
    if (!$("key-dialog").open) $("key").click();
    return;
  }
  const before = { 429: "The server is still at its limit. ", 503: "The server is still not ready. ", 504: "Too late. " };
  const same = error.status < 500 && error.status !== 429; // what is asked for is wrong, and would be again
  const actions = same || !again ? [] : [["Try again", again]];
  say("error", (before[error.status] ?? "") + sentence(error.message), ...actions);
}

// Ask for a server that is gone until it answers, and then tell `onReturn`.
export async function lookOut() {
  if (waiting) return;
  waiting = true;
  say("gone", `Nothing answers at ${base}. Is the server still running? This page asks again every ${GONE_EVERY} s.`);
  for (;;) {
    await pause(GONE_EVERY);
    try {
      await ask("readyz");
      break;
    } catch (error) {
      if (error instanceof Refused && error.status !== 503) break;
      if (error instanceof Refused) say("gone", `The server is back, and getting ready. ${sentence(error.message)}`);
    }
  }
  waiting = false;
  quiet();
  for (const listener of returned) listener();
}
