"use strict";
// The answer for a deadline and a traffic of the reader's own, from the same measured points as the charts.
(() => {
  const found = JSON.parse(document.getElementById("found").textContent);
  const form = document.getElementById("try");
  const said = form.querySelector("output");

  // p99 at a rate: between measured rates it is interpolated; past the last one nothing is known.
  const p99At = (points, rate) => {
    for (let i = 0; i < points.length; i += 1) {
      const [at, p99] = points[i];
      if (at === rate) return p99 ?? Infinity;
      if (at > rate) {
        if (i === 0 || p99 === null || points[i - 1][1] === null) return Infinity;
        const [before, low] = points[i - 1];
        return low + (p99 - low) * (rate - before) / (at - before);
      }
    }
    return Infinity;
  };

  const answer = () => {
    const deadline = form.elements.deadline.valueAsNumber;
    const rate = form.elements.rate.valueAsNumber;
    if (!(deadline > 0) || !(rate >= 0)) {
      said.textContent = "Give a deadline above 0 ms and a traffic of 0 or more.";
      return;
    }
    const fit = found.curves.filter((curve) => p99At(curve.points, rate) <= deadline);
    if (fit.length === 0) {
      said.textContent = `No step count measured here meets ${deadline} ms at ${rate} requests per second: more workers, or a later deadline.`;
      return;
    }
    const graded = fit.filter((curve) => curve.quality !== null);
    const best = graded.length
      ? graded.reduce((a, b) => (b.quality < a.quality ? b : a))
      : fit.reduce((a, b) => (b.steps > a.steps ? b : a));
    const p99 = p99At(best.points, rate);
    const why = graded.length ? "the best measured quality that fits" : "the most steps that fit";
    said.textContent = `Run ${best.steps} NFE: ${why}; p99 about ${p99.toFixed(0)} ms.`;
  };

  form.hidden = false;
  form.addEventListener("input", answer);
  form.addEventListener("submit", (event) => event.preventDefault());
  answer();
})();
