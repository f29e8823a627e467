"use strict";
// The answer for a deadline and a traffic of the reader's own, from the limits that were measured.
(() => {
  const found = JSON.parse(document.getElementById("found").textContent);
  const form = document.getElementById("try");
  const said = form.querySelector("output");
  const deadlines = found.curves[0].limits.map(([deadline]) => deadline);
  const shortest = deadlines[0];
  const longest = deadlines[deadlines.length - 1];

  // What meets a deadline meets a longer one: between two that were measured, the shorter one's rate is what is known.
  const known = (deadline) => deadlines.filter((one) => one <= deadline).length - 1;

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
    const i = known(deadline);
    const limit = (curve, at = i) => curve.limits[at][1];
    const between = deadlines[i] < deadline;
    const fit = found.curves.filter((curve) => limit(curve) >= rate);
    if (fit.length === 0) {
      const open = found.curves.filter((curve) => curve.open[i]);
      const highest = Math.max(...open.map((curve) => limit(curve)));
      if (found.unknown) {
        said.textContent = `Not known: of ${found.unknown} NFE there is no valid run under load.`;
      } else if (open.length > 0) {
        said.textContent = `Not known: nothing above ${shown(highest)} requests per second was measured of ${open.map((curve) => curve.steps).join(", ")} NFE; a longer sweep would say.`;
      } else if (between && (deadline > longest || found.curves.some((curve) => limit(curve, i + 1) >= rate || curve.open[i + 1]))) {
        said.textContent = `Not known: at ${rate} requests per second no step count measured here meets ${deadlines[i]} ms, and ${deadline} ms was not measured; ask: longjump loadtest sweep --slo ${deadline}`;
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
    const least = between || best.open[i] ? "at least " : "";
    said.textContent = `Run ${best.steps} NFE: ${why}, up to ${least}${shown(limit(best))} requests per second.`;
  };

  form.hidden = false;
  form.addEventListener("input", answer);
  form.addEventListener("submit", (event) => event.preventDefault());
  answer();
})();
