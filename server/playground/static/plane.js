// A square of the plane on a canvas: density, arrows, paths, points. Sizes are in CSS pixels, places in data units.

const REACH = 3.2; // from the middle to an edge

export class Plane {
  constructor(canvas) {
    this.canvas = canvas;
    const scale = window.devicePixelRatio || 1;
    this.size = Math.max(1, Math.round(canvas.clientWidth || 320));
    canvas.width = canvas.height = Math.round(this.size * scale);
    this.pen = canvas.getContext("2d");
    this.pen.scale(scale, scale);
  }

  // A colour of the style sheet as a canvas takes it: what the theme makes of it is known for a real property only.
  colour(name) {
    this.canvas.style.color = `var(--${name})`;
    return getComputedStyle(this.canvas).color;
  }

  at([x, y]) {
    return [(this.size * (x + REACH)) / (2 * REACH), (this.size * (REACH - y)) / (2 * REACH)];
  }

  // Shades where `value(z)` is high.
  shade(value, cells = 64) {
    const step = this.size / cells;
    const values = [];
    for (let row = 0; row < cells; row++) {
      for (let column = 0; column < cells; column++) {
        values.push(value([((column + 0.5) / cells) * 2 * REACH - REACH, REACH - ((row + 0.5) / cells) * 2 * REACH]));
      }
    }
    const top = Math.max(...values);
    this.pen.fillStyle = this.colour("accent");
    values.forEach((found, i) => {
      const alpha = 0.55 * Math.sqrt(found / top);
      if (alpha < 0.01) return;
      this.pen.globalAlpha = alpha;
      this.pen.fillRect((i % cells) * step, Math.floor(i / cells) * step, step + 0.5, step + 0.5);
    });
    this.pen.globalAlpha = 1;
  }

  dots(points, colour, radius = 1.8, alpha = 0.6) {
    this.pen.fillStyle = this.colour(colour);
    this.pen.globalAlpha = alpha;
    for (const point of points) {
      this.pen.beginPath();
      this.pen.arc(...this.at(point), radius, 0, 2 * Math.PI);
      this.pen.fill();
    }
    this.pen.globalAlpha = 1;
  }

  path(points, colour, width = 1.6, dash = []) {
    this.pen.strokeStyle = this.colour(colour);
    this.pen.lineWidth = width;
    this.pen.setLineDash(dash);
    this.pen.beginPath();
    for (const point of points) this.pen.lineTo(...this.at(point));
    this.pen.stroke();
    this.pen.setLineDash([]);
  }

  // From a point along a vector, of its length in data units.
  arrow(from, [dx, dy], colour) {
    const [x, y] = this.at(from);
    const [u, v] = this.at([from[0] + dx, from[1] + dy]);
    const angle = Math.atan2(v - y, u - x);
    this.pen.strokeStyle = this.colour(colour);
    this.pen.lineWidth = 1.2;
    this.pen.beginPath();
    this.pen.moveTo(x, y);
    this.pen.lineTo(u, v);
    for (const side of [-0.5, 0.5]) {
      this.pen.moveTo(u, v);
      this.pen.lineTo(u - 4 * Math.cos(angle + side), v - 4 * Math.sin(angle + side));
    }
    this.pen.stroke();
  }

  name(point, text, colour) {
    const [x, y] = this.at(point);
    this.pen.font = "600 12px system-ui, sans-serif";
    this.pen.fillStyle = this.colour(colour);
    this.pen.fillText(text, Math.min(x + 8, this.size - 8 - this.pen.measureText(text).width), Math.max(14, y - 7));
  }
}

// Where on the plane a pointer is.
export function pointed(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) / box.width) * 2 * REACH - REACH,
    REACH - ((event.clientY - box.top) / box.height) * 2 * REACH,
  ];
}

// Let a point be moved by pointer and arrow keys: `move(z, dragged)` is told where to.
export function draggable(canvas, where, move) {
  const hold = (z, dragged) => move(z.map((value) => Math.max(-REACH + 0.1, Math.min(REACH - 0.1, value))), dragged);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    hold(pointed(canvas, event), true);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) hold(pointed(canvas, event), true);
  });
  canvas.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    const [x, y] = where();
    hold([x + 0.1 * dx, y + 0.1 * dy], false);
  });
}
