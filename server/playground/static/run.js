// One run at a time: a new one ends the one before it, and its client's leaving frees the rows on the server.

import { patiently } from "./api.js";
import { quiet, sayError, sayWait } from "./messages.js";

// `work(signal, patient)` does what is to be done; `patient(request)` is for each of its requests. The run gives whether
// it was done to its end.
export function runner(panel, work) {
  let current = null;
  let coming = false;
  const showBusy = () => {
    if (current || coming) panel.setAttribute("aria-busy", "true");
    else panel.removeAttribute("aria-busy");
  };
  const run = async () => {
    current?.abort();
    const mine = (current = new AbortController());
    coming = false;
    showBusy();
    const patient = (request) => patiently(request, mine.signal, sayWait);
    try {
      await work(mine.signal, patient);
      if (current === mine) quiet();
      return current === mine;
    } catch (error) {
      if (!mine.signal.aborted) sayError(error, run);
      return false;
    } finally {
      if (current === mine) current = null;
      showBusy();
    }
  };
  run.stop = () => current?.abort();
  // Whether a run will begin in a moment.
  run.expect = (soon) => {
    coming = soon;
    showBusy();
  };
  return run;
}

// What is asked while `run` is at work is done once more when it ends, however often it was asked: for what follows a
// pointer, where a run that ends the one before it would never come to an end itself.
export function latest(run) {
  let running = false;
  let wanted = false;
  return async () => {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      await run();
    }
    running = false;
  };
}
