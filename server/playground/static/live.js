// The server as /metrics shows it, once a second while somebody looks.

import { ask, Gone } from "./api.js";
import { $, h, svg } from "./dom.js";
import { lookOut } from "./messages.js";
import { bracket, buckets, grown, parse, sum } from "./prometheus.js";
import { state } from "./state.js";

const EVERY = 1000; // ms
const SPAN = 60; // seconds that are drawn
const GAP = 10; // seconds between two readings, beyond which they are not compared
const WINDOW = 30; // seconds that quantiles and ticks are of
const RATE_OVER = 3; // seconds
const REQUESTS = "longjump_requests_total";
const TIMES = "longjump_request_seconds";
const TICKS = "longjump_tick_rows";
const ENOUGH = 100; // requests, from which on one in a hundred is one that there was
const ROWS_SHOWN = 8; // step counts

const readings = []; // { at, series }, the newest last
let served = null; // fingerprints
let changed = null;

// Begin to look, once; over when there is a first reading, to which later ones are compared. `onServed()` is told when
// other bundles are served than before.
export async function setUpLive(onServed) {
  if (changed) return;
  changed = onServed;
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && read());
  setInterval(read, EVERY);
  await read();
}

let reading = false;

async function read() {
  if (reading || document.visibilityState === "hidden") return;
  reading = true;
  try {
    const text = await (await ask("metrics", {}, { fresh: true })).text();
    const series = parse(text);
    const last = readings[readings.length - 1];
    const at = performance.now() / 1000;
    // A server that was started again counts anew; and what passed while nobody looked is not of the last seconds.
    if (last && (at - last.at > GAP || sum(series, `${TICKS}_count`) < sum(last.series, `${TICKS}_count`))) readings.length = 0;
    readings.push({ at, series });
    while (at - readings[0].at > SPAN) readings.shift();
    show(series);
  } catch (error) {
    showState("gone");
    $("live-note").textContent = "no answer: the last figures there were";
    if (error instanceof Gone) lookOut();
  } finally {
    reading = false;
  }
}

// The reading from `seconds` ago, or the oldest.
function before(seconds) {
  const now = readings[readings.length - 1].at;
  return readings.find(({ at }) => now - at <= seconds + 0.5) ?? readings[0];
}

function show(series) {
  const working = own(series, "waiting") + own(series, "running") > 0;
  showState(sum(series, "longjump_worker_up") ? (working ? "working" : "ready") : "starting");
  const fingerprints = (series.get("longjump_engine_info") ?? []).map(({ labels }) => labels.fingerprint).join();
  if (served !== null && fingerprints !== served) changed();
  served = fingerprints;

  const now = readings[readings.length - 1].at;
  const rates = readings.slice(1).map((one, i) =>
    [one.at, Math.max(0, sum(one.series, REQUESTS) - sum(readings[i].series, REQUESTS)) / (one.at - readings[i].at)]);
  const start = before(RATE_OVER);
  const rate = (sum(series, REQUESTS) - sum(start.series, REQUESTS)) / (now - start.at);
  $("live-rate").textContent = now === start.at ? "–" : rate < 10 ? rate.toFixed(1) : Math.round(rate);
  spark($("live-rate-line"), rates);
  const backlogs = readings.map((one) => [one.at, own(one.series, "backlog_row_steps")]);
  $("live-backlog").textContent = backlogs[backlogs.length - 1][1];
  spark($("live-backlog-line"), backlogs);

  const { at, series: old } = before(WINDOW);
  $("live-note").textContent = now === at ? "from now on" : `the last ${Math.round(now - at)} s`;
  showKinds(series, old);
  showTicks(grown(buckets(series, TICKS), buckets(old, TICKS)));
  showLatency(series, old);
}

// The load of this server, or of the fleet that it speaks for.
const own = (series, name) => sum(series, `longjump_${name}`) + sum(series, `longjump_fleet_${name}`);

const isCached = { source: (text) => text === "cache" };
const isMade = { source: (text) => text !== "cache" };
const isRefused = { code: (text) => Number(text) >= 400 };

// What became of the requests of the window.
function showKinds(series, old) {
  const more = (name, wanted) => sum(series, name, wanted) - sum(old, name, wanted);
  const kinds = [[more(`${TIMES}_count`, isMade), "made"], [more(`${TIMES}_count`, isCached), "from the cache"], [more(REQUESTS, isRefused), "refused"]];
  const said = kinds.filter(([count], i) => count || !i).map(([count, what]) => `${count} ${what}`);
  $("live-kinds").textContent = said.join(", ");
}

function showState(name) {
  $("state").dataset.state = name;
  $("state-text").textContent = name;
}

// A line through [at, value] over the last minute, from 0 up; what is before the first reading is left free.
function spark(root, values) {
  const now = readings[readings.length - 1].at;
  const most = Math.max(1, ...values.map(([, value]) => value));
  const [width, height] = [120, 32];
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.setAttribute("preserveAspectRatio", "none");
  const x = (at) => width - ((now - at) * width) / SPAN;
  const y = (value) => height - 1 - (value / most) * (height - 3);
  const line = values.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  if (values.length < 4) return root.replaceChildren();
  root.replaceChildren(
    svg("polygon", { points: `${x(values[0][0])},${height} ${line} ${width},${height}`, class: "area" }),
    svg("polyline", { points: line, class: "line" }),
  );
}

// Counts by bucket: bars for the rows that a tick may have here, and for what was seen beyond.
function showTicks(cumulative) {
  const counts = cumulative.map(([bound, count], i) => {
    const [least, before] = i ? [cumulative[i - 1][0] + 1, cumulative[i - 1][1]] : [1, 0];
    const rows = bound === Infinity ? `over ${least - 1}` : least === bound ? String(bound) : `${least}–${bound}`;
    return { rows, bound, count: count - before };
  });
  const limit = Math.max(1, ...values("longjump_tick_limit_rows"));
  const shown = counts.filter(({ count }, i) => count || i === 0 || counts[i - 1].bound < limit);
  const most = Math.max(1, ...counts.map(({ count }) => count));
  const [width, height, foot] = [Math.max(240, 34 * shown.length), 92, 14];
  const step = width / shown.length;
  const root = $("live-ticks");
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.replaceChildren(
    ...shown.flatMap(({ rows, count }, i) => {
      const tall = count ? Math.max(2, ((height - foot - 14) * count) / most) : 0;
      const middle = { x: (i + 0.5) * step, "text-anchor": "middle" };
      return [
        svg("rect", { x: i * step + 1.5, y: height - foot - tall, width: step - 3, height: tall, rx: 1.5, class: "bar" }),
        svg("text", { ...middle, y: height - 3 }, rows),
        svg("text", { ...middle, y: height - foot - tall - 3, class: "count" }, count ? String(count) : ""),
      ];
    }),
    svg("line", { x1: 0, x2: width, y1: height - foot, y2: height - foot, class: "axis" }),
  );
  const said = counts.filter(({ count }) => count).map(({ rows, count }) => `${count} of ${rows}`);
  root.setAttribute("aria-label", `Ticks by their rows: ${said.join(", ") || "none"}`);
}

// Of the newest reading.
const values = (name) => (readings[readings.length - 1].series.get(name) ?? []).map(({ value }) => value);

// Seconds as a bucket has them: "50–100 ms".
function between([low, high]) {
  const [unit, scale] = (high === Infinity ? low : high) < 1 ? ["ms", 1000] : ["s", 1];
  const text = (seconds) => String(Number((scale * seconds).toPrecision(3)));
  if (high === Infinity) return `over ${text(low)} ${unit}`;
  return low ? `${text(low)}–${text(high)} ${unit}` : `under ${text(high)} ${unit}`;
}

// Of what was made: an answer from the cache takes no network evaluation, and would hide what one costs.
function showLatency(series, old) {
  $("live-models").hidden = state.models.length < 2;
  const known = new Set((series.get(`${TIMES}_count`) ?? []).map(({ labels }) => labels.steps));
  for (const model of state.models) for (const steps of model.steps) known.add(String(steps));
  const rows = [...known].sort((a, b) => a - b).slice(0, ROWS_SHOWN).map((steps) => {
    const times = grown(buckets(series, TIMES, { steps, ...isMade }), buckets(old, TIMES, { steps, ...isMade }));
    const total = times.length ? times[times.length - 1][1] : 0;
    const half = total ? between(bracket(0.5, times)) : "–";
    const tail = total >= ENOUGH ? between(bracket(0.99, times)) : total ? h("span", { class: "few" }, "too few") : "–";
    return h("tr", total ? {} : { class: "idle" }, h("th", { scope: "row" }, steps), h("td", {}, half), h("td", {}, tail), h("td", {}, String(total)));
  });
  $("live-latency").replaceChildren(...rows);
}
