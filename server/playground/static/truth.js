// Gaussian mixtures in the plane on the path z_t = (1 - t) x0 + t x1: what the lab holds the models against.

const RING = Array.from({ length: 8 }, (_, k) => [2 * Math.cos((k * Math.PI) / 4), 2 * Math.sin((k * Math.PI) / 4)]);

// `count` Gaussians of the ring, spread over it.
export function ring(count, std = 0.2) {
  const chosen = { 1: [1], 3: [1, 4, 6], 5: [0, 2, 3, 5, 6], 8: [0, 1, 2, 3, 4, 5, 6, 7] }[count];
  return { weights: chosen.map(() => 1 / chosen.length), means: chosen.map((k) => RING[k]), stds: chosen.map(() => std) };
}

// The mixture that a model's data were drawn from, as its bundle tells; null where that is another kind of data.
export function mixtureOf(model) {
  const { mean, std, weight } = model.data?.generator ?? {};
  if (!Array.isArray(mean) || !Array.isArray(std) || mean.some((place) => place?.length !== 2)) return null;
  const stds = std.length === 1 ? mean.map(() => std[0]) : std;
  return { weights: weight ?? mean.map(() => 1 / mean.length), means: mean, stds };
}

// What a component k says of z at t: its log-weight, variance, and z off its centre.
function parts({ weights, means, stds }, [x, y], t) {
  return means.map(([mx, my], k) => {
    const variance = (1 - t) ** 2 * stds[k] ** 2 + t * t;
    const dx = x - (1 - t) * mx;
    const dy = y - (1 - t) * my;
    return { log: Math.log(weights[k] / variance) - (dx * dx + dy * dy) / (2 * variance), variance, dx, dy };
  });
}

export function density(mixture, z, t) {
  return parts(mixture, z, t).reduce((sum, { log }) => sum + Math.exp(log), 0) / (2 * Math.PI);
}

// The marginal velocity: each component's, by how probable it is that z came from it.
export function velocity(mixture, z, t) {
  const all = parts(mixture, z, t);
  const top = Math.max(...all.map(({ log }) => log));
  let [x, y, total] = [0, 0, 0];
  all.forEach(({ log, variance, dx, dy }, k) => {
    const weight = Math.exp(log - top);
    const slope = (t - (1 - t) * mixture.stds[k] ** 2) / variance;
    x += weight * (slope * dx - mixture.means[k][0]);
    y += weight * (slope * dy - mixture.means[k][1]);
    total += weight;
  });
  return [x / total, y / total];
}

const SMALLEST = 1 / 400; // of the steps by which the exact flow is followed

// Places on the exact flow from z at t down to s, by Runge and Kutta's method of fourth order.
export function flow(mixture, z, t, s, places = Math.max(2, Math.ceil((t - s) / SMALLEST))) {
  const path = [z];
  const h = (s - t) / places;
  const moved = ([x, y], [dx, dy], by) => [x + by * dx, y + by * dy];
  for (let i = 0; i < places; i++) {
    const time = t + i * h;
    const at = path[i];
    const a = velocity(mixture, at, time);
    const b = velocity(mixture, moved(at, a, h / 2), time + h / 2);
    const c = velocity(mixture, moved(at, b, h / 2), time + h / 2);
    const d = velocity(mixture, moved(at, c, h), time + h);
    path.push([0, 1].map((i) => at[i] + (h / 6) * (a[i] + 2 * b[i] + 2 * c[i] + d[i])));
  }
  return path;
}

// The same in `steps` equal Euler steps, each along the velocity at its start.
export function euler(mixture, z, t, s, steps) {
  const path = [z];
  const h = (s - t) / steps;
  for (let i = 0; i < steps; i++) {
    const [x, y] = path[i];
    const [dx, dy] = velocity(mixture, path[i], t + i * h);
    path.push([x + h * dx, y + h * dy]);
  }
  return path;
}

export const apart = ([x, y], [u, v]) => Math.hypot(x - u, y - v);

// Normal numbers that are the same each time, two for a number: what is shown is not another thing at every visit.
export function normals(count, seed = 1) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  return Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
}
