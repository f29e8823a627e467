// Prometheus's text format, as far as a live panel needs it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const UNESCAPED = { n: "\n", '"': '"', "\\": "\\" };

// Name -> [{ labels, value }].
export function parse(text) {
  const series = new Map();
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(LABEL)) {
      labels[name] = value.replace(/\\(.)/g, (_, letter) => UNESCAPED[letter] ?? letter);
    }
    if (!series.has(match[1])) series.set(match[1], []);
    series.get(match[1]).push({ labels, value: number(match[3]) });
  }
  return series;
}

const number = (text) => (text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text));

// Whether labels are those wanted: each is a text, or a function that says whether a text will do.
const fits = (labels, wanted) =>
  Object.entries(wanted).every(([label, value]) => (typeof value === "function" ? value(labels[label]) : labels[label] === value));

export function sum(series, name, wanted = {}) {
  const found = (series.get(name) ?? []).filter(({ labels }) => fits(labels, wanted));
  return found.reduce((total, { value }) => total + value, 0);
}

// [bound, count up to it] by rising bounds, of all series of a histogram with these labels together.
export function buckets(series, name, wanted = {}) {
  const counts = new Map();
  for (const { labels, value } of series.get(`${name}_bucket`) ?? []) {
    if (!fits(labels, wanted)) continue;
    const bound = number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return [...counts].sort(([a], [b]) => a - b);
}

// What `later` has more than `earlier`. A server that was started again counts from 0, so that all of it is new.
export function grown(later, earlier) {
  const before = new Map(earlier);
  const less = later.some(([bound, count]) => count < (before.get(bound) ?? 0));
  return later.map(([bound, count]) => [bound, less ? count : count - (before.get(bound) ?? 0)]);
}

// The bucket that the q-quantile lies in, (low, high], which is all that a histogram knows of it; null of nothing.
export function bracket(q, cumulative) {
  const total = cumulative.length ? cumulative[cumulative.length - 1][1] : 0;
  if (!total) return null;
  const at = cumulative.findIndex(([, count]) => count >= q * total);
  return [at ? cumulative[at - 1][0] : 0, cumulative[at][0]];
}
