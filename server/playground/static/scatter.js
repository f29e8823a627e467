// Points in the plane (their first two coordinates), or on a line.

const MARGIN = 0.06;

// The square [low, high]^2 that holds nearly all points, the same for every picture that is to be compared.
export function extent(sets) {
  const values = sets.flat().flatMap((point) => point.slice(0, 2).map(Math.abs)).sort((a, b) => a - b);
  const reach = values.length ? values[Math.floor(0.995 * (values.length - 1))] * 1.1 : 1;
  return [-Math.max(reach, 1e-6), Math.max(reach, 1e-6)];
}

// Draw onto a canvas, sized to where it stands, in its `color`, with axes in its `border-color`. `path` joins the points by a line and numbers its ends.
export function draw(canvas, points, [low, high], { path = false } = {}) {
  const size = Math.max(1, Math.round(canvas.clientWidth || 240));
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(size * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const inner = size * (1 - 2 * MARGIN);
  const place = (value) => size * MARGIN + (inner * (value - low)) / (high - low);
  context.strokeStyle = style.borderTopColor;
  context.beginPath();
  context.moveTo(place(0), 0);
  context.lineTo(place(0), size);
  context.moveTo(0, size - place(0));
  context.lineTo(size, size - place(0));
  context.stroke();
  context.fillStyle = context.strokeStyle = style.color;
  if (points.length && points[0].length === 1) {
    bars(context, points, [low, high], size, inner);
    return;
  }
  if (path) {
    context.globalAlpha = 0.6;
    context.beginPath();
    for (const [x, y] of points) context.lineTo(place(x), size - place(y));
    context.stroke();
  }
  context.globalAlpha = path ? 1 : 0.55;
  points.forEach(([x, y], i) => {
    context.beginPath();
    const radius = path ? (i === points.length - 1 ? 5 : 3) : 1.8;
    context.arc(place(x), size - place(y), radius, 0, 2 * Math.PI);
    context.fill();
  });
}

// One coordinate: how many points fell where.
function bars(context, points, [low, high], size, inner) {
  const bins = Array.from({ length: 48 }, () => 0);
  for (const [x] of points) {
    const bin = Math.floor((bins.length * (x - low)) / (high - low));
    if (bin >= 0 && bin < bins.length) bins[bin]++;
  }
  const highest = Math.max(...bins, 1);
  const width = inner / bins.length;
  bins.forEach((count, i) => {
    const height = (inner / 2) * (count / highest);
    context.fillRect(size * MARGIN + i * width, size / 2 - height, width - 1, height);
  });
}
