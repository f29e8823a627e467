// The server as /metrics shows it, once a second while somebody looks.

import { ask, Gone } from "./api.js";
import { $, h, milliseconds, svg } from "./dom.js";
import { lookOut } from "./messages.js";
import { buckets, grown, parse, quantile, sum } from "./prometheus.js";
import { state } from "./state.js";

const EVERY = 1000; // ms
const KEPT = 61; // readings: a minute
const WINDOW = 30; // seconds that quantiles and ticks are of
const RATE_OVER = 3; // seconds
const TIMES = "longjump_request_seconds";
const TICKS = "longjump_tick_rows";

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
    // A server that was started again counts anew.
    if (last && sum(series, `${TICKS}_count`) < sum(last.series, `${TICKS}_count`)) readings.length = 0;
    readings.push({ at: performance.now() / 1000, series });
    readings.splice(0, readings.length - KEPT);
    show(series);
  } catch (error) {
    showState("gone");
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
  const working = sum(series, "longjump_waiting") + sum(series, "longjump_running") > 0;
  showState(sum(series, "longjump_worker_up") ? (working ? "working" : "ready") : "starting");
  const fingerprints = (series.get("longjump_engine_info") ?? []).map(({ labels }) => labels.fingerprint).join();
  if (served !== null && fingerprints !== served) changed();
  served = fingerprints;

  const rates = readings.slice(1).map((one, i) =>
    Math.max(0, sum(one.series, "longjump_requests_total") - sum(readings[i].series, "longjump_requests_total")) / (one.at - readings[i].at));
  const start = before(RATE_OVER);
  const seconds = readings[readings.length - 1].at - start.at;
  const rate = seconds ? (sum(series, "longjump_requests_total") - sum(start.series, "longjump_requests_total")) / seconds : 0;
  $("live-rate").textContent = rate < 10 ? rate.toFixed(1) : Math.round(rate);
  spark($("live-rate-line"), rates);
  const backlogs = readings.map((one) => sum(one.series, "longjump_backlog_row_steps"));
  $("live-backlog").textContent = backlogs[backlogs.length - 1];
  spark($("live-backlog-line"), backlogs);

  const old = before(WINDOW).series;
  showTicks(grown(buckets(series, TICKS), buckets(old, TICKS)));
  showLatency(series, old);
}

function showState(name) {
  $("state").dataset.state = name;
  $("state-text").textContent = name;
}

// A line over the last minute, from 0 up; what is before the first reading is left free.
function spark(root, values) {
  const most = Math.max(1, ...values);
  const [width, height] = [120, 32];
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.setAttribute("preserveAspectRatio", "none");
  const x = (i) => width - ((values.length - 1 - i) * width) / (KEPT - 1);
  const y = (value) => height - 1 - (value / most) * (height - 3);
  const line = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  if (values.length < 4) return root.replaceChildren();
  root.replaceChildren(
    svg("polygon", { points: `${x(0)},${height} ${line} ${width},${height}`, class: "area" }),
    svg("polyline", { points: line, class: "line" }),
  );
}

function showTicks(cumulative) {
  const counts = cumulative.map(([bound, count], i) => [bound, count - (i ? cumulative[i - 1][1] : 0)]);
  const most = Math.max(1, ...counts.map(([, count]) => count));
  const [width, height, foot] = [240, 84, 14];
  const step = width / Math.max(1, counts.length);
  const root = $("live-ticks");
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.replaceChildren(
    ...counts.flatMap(([bound, count], i) => {
      const tall = count ? Math.max(2, ((height - foot - 4) * count) / most) : 0;
      return [
        svg("rect", { x: i * step + 1.5, y: height - foot - tall, width: step - 3, height: tall, rx: 1.5, class: "bar" }),
        svg("text", { x: (i + 0.5) * step, y: height - 3, "text-anchor": "middle" }, bound === Infinity ? ">" : String(bound)),
      ];
    }),
    svg("line", { x1: 0, x2: width, y1: height - foot, y2: height - foot, class: "axis" }),
  );
  const said = counts.filter(([, count]) => count).map(([bound, count]) => `${count} of up to ${bound}`);
  root.setAttribute("aria-label", `Ticks by their rows: ${said.join(", ") || "none"}`);
}

function showLatency(series, old) {
  const known = new Set((series.get(`${TIMES}_count`) ?? []).map(({ labels }) => labels.steps));
  for (const model of state.models) for (const steps of model.steps) known.add(String(steps));
  const rows = [...known].sort((a, b) => a - b).map((steps) => {
    const times = grown(buckets(series, TIMES, { steps }), buckets(old, TIMES, { steps }));
    const total = times.length ? times[times.length - 1][1] : 0;
    const shown = (q) => (total ? milliseconds(1000 * quantile(q, times)) : "–");
    return h("tr", total ? {} : { class: "idle" }, h("th", { scope: "row" }, steps), h("td", {}, shown(0.5)), h("td", {}, shown(0.99)), h("td", {}, String(total)));
  });
  $("live-latency").replaceChildren(...rows.slice(0, 8));
}
