"use strict";
// The answer for a deadline and a traffic of the reader's own, from the limits that were measured.
(() => {
  const found = JSON.parse(document.getElementById("found").textContent);
  const form = document.getElementById("try");
  const said = form.querySelector("output");
  const deadlines = found.curves[0].limits.map(([deadline]) => deadline);
  const shortest = deadlines[0];
  const longest = deadlines[deadlines.length - 1];

  // The highest rate for a deadline: between two that were measured on the line between them, beyond the last one as there.
  const limitAt = (limits, deadline) => {
    for (let i = 0; i < limits.length; i += 1) {
      const [at, rate] = limits[i];
      if (at === deadline) return rate;
      if (at > deadline) {
        const [before, low] = limits[i - 1];
        return low + (rate - low) * (deadline - before) / (at - before);
      }
    }
    return limits[limits.length - 1][1];
  };

  const shown = (rate) => rate.toLocaleString("en-US", { maximumSignificantDigits: 3 });

  const answer = () => {
    const deadline = form.elements.deadline.valueAsNumber;
    const rate = form.elements.rate.valueAsNumber;
    if (!(deadline > 0) || !(rate > 0)) {
      said.textContent = "Give a deadline and a traffic above 0.";
      return;
    }
    if (deadline < shortest) {
      said.textContent = `${shortest} ms is the shortest deadline measured; ask: longjump loadtest sweep --slo ${deadline}`;
      return;
    }
    const fit = found.curves.filter((curve) => limitAt(curve.limits, deadline) >= rate);
    if (fit.length === 0) {
      const open = found.curves.filter((curve) => curve.open.some(Boolean));
      const highest = Math.max(...open.map((curve) => limitAt(curve.limits, deadline)));
      if (found.unknown) {
        said.textContent = `Not known: of ${found.unknown} NFE there is no valid run under load.`;
      } else if (open.length > 0) {
        said.textContent = `Not known: nothing above ${shown(highest)} requests per second was measured of ${open.map((curve) => curve.steps).join(", ")} NFE; a longer sweep would say.`;
      } else {
        said.textContent = `No step count measured here meets ${deadline} ms at ${rate} requests per second: more workers, or a later deadline.`;
      }
      return;
    }
    const graded = fit.filter((curve) => curve.quality !== null);
    const best = graded.length
      ? graded.reduce((a, b) => (b.quality < a.quality ? b : a))
      : fit.reduce((a, b) => (b.steps > a.steps ? b : a));
    const why = graded.length ? "the best measured quality that fits" : "the most steps that fit";
    const least = best.open[deadlines.indexOf(deadline)] ? "at least " : "";
    const exact = deadlines.includes(deadline) || deadline > longest ? least : "about ";
    said.textContent = `Run ${best.steps} NFE: ${why}, up to ${exact}${shown(limitAt(best.limits, deadline))} requests per second.`;
  };

  form.hidden = false;
  form.addEventListener("input", answer);
  form.addEventListener("submit", (event) => event.preventDefault());
  answer();
})();
