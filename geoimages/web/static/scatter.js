// A map of many points on a canvas: pan, zoom, lasso, and pictures where there is room.
//
// The points are written straight into the pixels of the canvas, which takes a few
// milliseconds for 100,000 of them; only what lies above (pictures, the lasso) is drawn.

import { count, make } from "./elements.js";

// Petroff (2021): distinguishable with color vision deficiencies.
const COLORS = [
  "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadb",
];
const MOST_PICTURES = 150; // shown at once
const PICTURE_FROM = 26; // pixels that a picture needs to be shown

// A color as the 32 bits of a pixel (little-endian RGBA).
function bits(color, alpha = 255) {
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

// A color of a scale from dark blue to yellow, for values from 0 to 1.
function shade(value) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const place = Math.min(0.9999, Math.max(0, value)) * (stops.length - 1);
  const i = Math.floor(place);
  const mixed = stops[i].map((part, j) => Math.round(part + (place - i) * (stops[i + 1][j] - part)));
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

const dot = (color) => {
  const mark = make("span", { class: "dot" });
  mark.style.background = color;
  return mark;
};

// The colors of all points by a column, and what they mean.
export function painted(column) {
  if (column.values) {
    const known = column.values.filter((value) => value !== null);
    const low = known.reduce((one, other) => Math.min(one, other), Infinity);
    const span = known.reduce((one, other) => Math.max(one, other), -Infinity) - low || 1;
    const colors = Uint32Array.from(column.values, (value) =>
      (value === null ? bits("#888888", 90) : bits(shade((value - low) / span))));
    const said = [0, 0.25, 0.5, 0.75, 1].map((share) =>
      make("span", {}, dot(shade(share)), String(Number((low + share * span).toPrecision(4)))));
    return { colors, said };
  }
  const counts = new Array(column.names.length).fill(0);
  for (const code of column.codes) if (code >= 0) counts[code] += 1;
  const order = counts.map((n, i) => i).filter((i) => column.names[i] !== "").sort((i, j) => counts[j] - counts[i]);
  const of = new Array(column.names.length).fill("#888888");
  order.slice(0, COLORS.length).forEach((i, place) => { of[i] = COLORS[place]; });
  const table = of.map((color) => bits(color));
  const colors = Uint32Array.from(column.codes, (code) => (code < 0 ? bits("#888888") : table[code]));
  const said = order.slice(0, COLORS.length).map((i) =>
    make("span", {}, dot(of[i]), `${column.names[i]} (${count(counts[i])})`));
  if (order.length > COLORS.length) said.push(make("span", {}, dot("#888888"), `${order.length - COLORS.length} others`));
  return { colors, said };
}

// Whether a point lies in a polygon of [x, y].
function inside(x, y, polygon) {
  let within = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i, i += 1) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  }
  return within;
}

export class Scatter {
  // element: where the map goes. picture(position, side): URL of a picture, or a promise.
  // onselect(positions), onhover(position or -1, x, y), onopen(position).
  constructor(element, { picture, onselect, onhover = () => {}, onopen = () => {} }) {
    Object.assign(this, { element, picture, onselect, onhover, onopen });
    this.points = new Float32Array(0);
    this.colors = new Uint32Array(0);
    this.chosen = new Uint8Array(0);
    this.lassoing = false;
    this.canvas = make("canvas");
    this.above = make("canvas");
    element.append(this.canvas, this.above);
    this.images = new Map();
    this.frames = []; // milliseconds of the last frames
    new ResizeObserver(() => this.resize()).observe(element);
    this.listen();
    this.resize();
    this.whole();
  }

  // points: x and y of each, 0 to 1; colors: bits of each.
  set(points, colors) {
    this.points = points;
    this.colors = colors;
    this.chosen = new Uint8Array(points.length / 2);
    this.whole();
  }

  paint(colors) {
    this.colors = colors;
    this.draw();
  }

  choose(positions) {
    this.chosen.fill(0);
    for (const i of positions) this.chosen[i] = 1;
    this.draw();
  }

  resize() {
    const { width, height } = this.element.getBoundingClientRect();
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    [this.width, this.height] = [Math.max(1, width), Math.max(1, height)];
    for (const canvas of [this.canvas, this.above]) {
      canvas.width = Math.round(this.width * this.ratio);
      canvas.height = Math.round(this.height * this.ratio);
    }
    this.draw();
  }

  whole() {
    this.view = { x: 0.5, y: 0.5, zoom: 1 };
    this.draw();
  }

  scale() {
    return Math.min(this.width, this.height) * 0.94 * this.view.zoom;
  }

  // Pixels of the element of a point of the map, and back.
  place(x, y) {
    const scale = this.scale();
    return [(x - this.view.x) * scale + this.width / 2, (this.view.y - y) * scale + this.height / 2];
  }

  point(left, top) {
    const scale = this.scale();
    return [(left - this.width / 2) / scale + this.view.x, this.view.y - (top - this.height / 2) / scale];
  }

  move(left, top) {
    this.view.x -= left / this.scale();
    this.view.y += top / this.scale();
    this.draw();
  }

  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.point(left, top);
    this.view.zoom = Math.min(400, Math.max(0.5, this.view.zoom * factor));
    const [nowX, nowY] = this.point(left, top);
    this.view.x += x - nowX;
    this.view.y += y - nowY;
    this.draw();
  }

  draw() {
    this.asked ||= requestAnimationFrame(() => {
      this.asked = 0;
      const start = performance.now();
      this.drawPoints();
      this.drawAbove();
      this.frames = [...this.frames.slice(-59), performance.now() - start];
    });
  }

  drawPoints() {
    const { points, colors, chosen, ratio } = this;
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const scale = this.scale() * ratio;
    const left = width / 2 - this.view.x * scale;
    const top = height / 2 + this.view.y * scale;
    const n = points.length / 2;
    const crowd = n / this.view.zoom ** 2;
    const radius = Math.round((crowd > 40000 ? 1 : crowd > 8000 ? 1.5 : crowd > 600 ? 2.5 : 4) * ratio);
    const any = chosen.indexOf(1) >= 0;
    const rows = []; // half the width of a disc in each of its rows
    for (let dy = -radius; dy <= radius; dy += 1) rows.push(Math.floor(Math.sqrt((radius + 0.4) ** 2 - dy * dy)));
    for (let pass = any ? 0 : 1; pass < 2; pass += 1) {
      for (let i = 0; i < n; i += 1) {
        if (any && chosen[i] !== pass) continue; // those selected on top
        const x = Math.round(left + points[2 * i] * scale);
        const y = Math.round(top - points[2 * i + 1] * scale);
        if (x < -radius || y < -radius || x >= width + radius || y >= height + radius) continue;
        const color = any && !pass ? ((colors[i] & 0xffffff) | 0x48000000) >>> 0 : colors[i];
        for (let dy = -radius; dy <= radius; dy += 1) {
          const line = y + dy;
          if (line < 0 || line >= height) continue;
          const half = rows[dy + radius];
          const from = line * width + Math.max(0, x - half);
          const to = line * width + Math.min(width - 1, x + half);
          for (let at = from; at <= to; at += 1) pixels[at] = color;
        }
      }
    }
    context.putImageData(image, 0, 0);
  }

  drawAbove() {
    const context = this.above.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.drawPictures(context);
    if (!this.path?.length) return;
    context.beginPath();
    for (const [x, y] of this.path) context.lineTo(x, y);
    context.closePath();
    context.strokeStyle = getComputedStyle(this.element).color;
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    context.stroke();
    context.globalAlpha = 0.08;
    context.fillStyle = context.strokeStyle;
    context.fill();
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  // Pictures take the place of points where few enough are in view.
  drawPictures(context) {
    const visible = this.inView();
    if (!visible.length || visible.length > MOST_PICTURES) return;
    const side = Math.min(96, Math.max(PICTURE_FROM, Math.sqrt((this.width * this.height) / visible.length) * 0.5));
    context.imageSmoothingEnabled = false;
    for (const i of visible) {
      const image = this.image(i, side);
      const [x, y] = this.place(this.points[2 * i], this.points[2 * i + 1]);
      if (!image.complete || !image.naturalWidth) continue;
      const shrink = side / Math.max(image.naturalWidth, image.naturalHeight);
      const [width, height] = [image.naturalWidth * shrink, image.naturalHeight * shrink];
      context.imageSmoothingEnabled = image.naturalWidth > 64;
      const color = this.colors[i];
      context.fillStyle = `rgb(${color & 255} ${(color >> 8) & 255} ${(color >> 16) & 255})`;
      context.fillRect(x - width / 2 - 2, y - height / 2 - 2, width + 4, height + 4);
      context.drawImage(image, x - width / 2, y - height / 2, width, height);
    }
  }

  image(i, side) {
    let image = this.images.get(i);
    if (!image) {
      image = new Image();
      image.onload = () => this.draw();
      Promise.resolve(this.picture(i, side)).then((url) => { image.src = url; });
      this.images.set(i, image);
      if (this.images.size > 600) this.images.delete(this.images.keys().next().value);
    }
    return image;
  }

  inView(most = Infinity) {
    const [left, top] = this.point(0, 0);
    const [right, bottom] = this.point(this.width, this.height);
    const found = [];
    for (let i = 0; i < this.points.length / 2 && found.length <= most; i += 1) {
      const [x, y] = [this.points[2 * i], this.points[2 * i + 1]];
      if (x >= left && x <= right && y <= top && y >= bottom) found.push(i);
    }
    return found;
  }

  nearest(left, top, within = 9) {
    let best = -1;
    let least = within ** 2;
    const [x, y] = this.point(left, top);
    const scale = this.scale() ** 2;
    for (let i = 0; i < this.points.length / 2; i += 1) {
      const away = ((this.points[2 * i] - x) ** 2 + (this.points[2 * i + 1] - y) ** 2) * scale;
      if (away < least) [best, least] = [i, away];
    }
    return best;
  }

  within(path) {
    const polygon = path.map(([left, top]) => this.point(left, top));
    const xs = polygon.map(([x]) => x);
    const ys = polygon.map(([, y]) => y);
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const found = [];
    for (let i = 0; i < this.points.length / 2; i += 1) {
      const [x, y] = [this.points[2 * i], this.points[2 * i + 1]];
      if (x >= left && x <= right && y >= low && y <= high && inside(x, y, polygon)) found.push(i);
    }
    return found;
  }

  select(positions) {
    this.choose(positions);
    this.onselect(positions);
  }

  listen() {
    const { element } = this;
    const pointers = new Map();
    let moved = 0;
    const at = (event) => {
      const frame = element.getBoundingClientRect();
      return [event.clientX - frame.left, event.clientY - frame.top];
    };
    element.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      element.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, at(event));
      moved = 0;
      this.path = (this.lassoing || event.shiftKey) && pointers.size === 1 ? [at(event)] : null;
    });
    element.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      const before = pointers.get(event.pointerId);
      if (!before) return this.onhover(this.nearest(x, y), x, y);
      moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
      if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
        const spread = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
        this.zoom(spread([x, y]) / Math.max(1, spread(before)), (x + other[0]) / 2, (y + other[1]) / 2);
      } else if (this.path) {
        this.path.push([x, y]);
        this.drawAbove();
      } else {
        this.move(x - before[0], y - before[1]);
      }
      pointers.set(event.pointerId, [x, y]);
    });
    const end = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      const path = this.path;
      this.path = null;
      if (event.type === "pointercancel") return this.draw();
      if (path && path.length > 2) this.select(this.within(path));
      else if (moved < 4) {
        const [x, y] = at(event);
        const i = this.nearest(x, y, 14);
        if (i >= 0) this.onopen(i);
      }
      this.draw();
    };
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", end);
    element.addEventListener("pointerleave", () => this.onhover(-1, 0, 0));
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), ...at(event));
    }, { passive: false });
  }
}
