// Large photographs: places as boxes, with zoom; finer parts are fetched when they are seen.

import { make, percent } from "./elements.js";

export class Photo {
  // stamp: the collection's version; photo: {number, width, height}.
  constructor(element, stamp, photo, places) {
    Object.assign(this, { element, stamp, photo, places });
    this.canvas = make("canvas");
    element.replaceChildren(this.canvas);
    this.base = this.load([0, 0, photo.width, photo.height], 1024);
    this.resize();
    this.whole();
    new ResizeObserver(() => this.resize()).observe(element);
    this.listen();
  }

  load(box, size) {
    const image = new Image();
    image.box = box;
    image.onload = () => this.draw();
    image.src = `/photo/${this.stamp}/${size}/${this.photo.number}?box=${box.map(Math.round).join(",")}`;
    return image;
  }

  resize() {
    const { width, height } = this.element.getBoundingClientRect();
    [this.width, this.height] = [Math.max(1, width), Math.max(1, height)];
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    this.ratio = ratio;
    this.draw();
  }

  fit([left, top, right, bottom], margin = 1) {
    this.scale = Math.min(this.width / (right - left), this.height / (bottom - top)) / margin;
    this.x = (left + right) / 2;
    this.y = (top + bottom) / 2;
    this.moved();
  }

  whole() {
    this.fit([0, 0, this.photo.width, this.photo.height], 1.04);
  }

  show(place) {
    this.fit([place.x, place.y, place.x + place.width, place.y + place.height], 3);
  }

  move(right, down) {
    this.x -= right / this.scale;
    this.y -= down / this.scale;
    this.moved();
  }

  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const scale = Math.min(16, Math.max(this.width / this.photo.width / 4, this.scale * factor));
    this.x += (left - this.width / 2) * (1 / this.scale - 1 / scale);
    this.y += (top - this.height / 2) * (1 / this.scale - 1 / scale);
    this.scale = scale;
    this.moved();
  }

  moved() {
    this.draw();
    clearTimeout(this.soon);
    this.soon = setTimeout(() => {
      const [w, h] = [this.width / 2 / this.scale, this.height / 2 / this.scale];
      const box = [Math.max(0, this.x - w), Math.max(0, this.y - h),
        Math.min(this.photo.width, this.x + w), Math.min(this.photo.height, this.y + h)];
      if (box[2] - box[0] < 1 || box[3] - box[1] < 1) return;
      this.detail = this.load(box, 1024);
    }, 200);
  }

  draw() {
    this.asked ||= requestAnimationFrame(() => {
      this.asked = 0;
      const context = this.canvas.getContext("2d");
      context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      context.clearRect(0, 0, this.width, this.height);
      context.translate(this.width / 2, this.height / 2);
      context.scale(this.scale, this.scale);
      context.translate(-this.x, -this.y);
      for (const image of [this.base, this.detail]) {
        if (!image?.complete || !image.naturalWidth) continue;
        const [left, top, right, bottom] = image.box;
        context.drawImage(image, left, top, right - left, bottom - top);
      }
      this.places.forEach((place, i) => this.drawPlace(context, place, i));
    });
  }

  drawPlace(context, { x, y, width, height, orientation, found }, i) {
    for (const [color, line] of [["#000", 4], [found ? "#ffa90e" : "#fff", 2]]) {
      context.save();
      context.translate(x + width / 2, y + height / 2);
      context.rotate((-(orientation || 0) * Math.PI) / 180);
      context.strokeStyle = color;
      context.lineWidth = line / this.scale;
      if (!found) context.setLineDash([6 / this.scale, 4 / this.scale]);
      context.strokeRect(-width / 2, -height / 2, width, height);
      context.restore();
    }
    const size = 18 / this.scale;
    context.fillStyle = found ? "#ffa90e" : "#fff";
    context.fillRect(x, y, size, size);
    context.fillStyle = "#000";
    context.font = `600 ${13 / this.scale}px sans-serif`;
    context.textAlign = "center";
    context.fillText(String(i + 1), x + size / 2, y + 0.75 * size);
  }

  listen() {
    let last = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      last = [event.clientX, event.clientY];
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      this.move(event.clientX - last[0], event.clientY - last[1]);
      last = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => { last = null; });
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const frame = this.canvas.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY / 400), event.clientX - frame.left, event.clientY - frame.top);
    }, { passive: false });
  }
}

// The places of an answer: a list, and the photograph of the one that was chosen.
export function showPlaces(element, { version, photos, places: all }) {
  const found = all.some((place) => place.found);
  const places = all.filter((place) => place.found || !found);
  const frame = make("div", { class: "photo", tabindex: "0", role: "application",
    "aria-label": "The photograph with the places found. Arrow keys move it, plus and minus zoom, 0 shows the whole." });
  const keys = {
    ArrowLeft: () => viewer.move(60, 0), ArrowRight: () => viewer.move(-60, 0), ArrowUp: () => viewer.move(0, 60), ArrowDown: () => viewer.move(0, -60),
    "+": () => viewer.zoom(1.5), "=": () => viewer.zoom(1.5), "-": () => viewer.zoom(1 / 1.5), 0: () => viewer.whole(),
  };
  frame.onkeydown = (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    keys[event.key]();
    event.preventDefault();
    event.stopPropagation();
  };
  const buttons = places.map((place, i) => {
    const depth = place.depth_from == null ? "" : `, ${place.depth_from.toFixed(2)}–${place.depth_to.toFixed(2)} m`;
    const said = place.found ? "the same place" : "not the same";
    return make("li", {}, make("button", { onclick: () => choose(i) },
      `${i + 1}. ${place.name}${depth}: ${said} (${percent(Math.max(0, place.similarity))})`));
  });
  const whole = make("button", { onclick: () => viewer.whole() }, "Whole photograph");
  const nearer = make("button", { "aria-label": "Nearer", onclick: () => viewer.zoom(1.5) }, "+");
  const farther = make("button", { "aria-label": "Farther", onclick: () => viewer.zoom(1 / 1.5) }, "−");
  let viewer;
  const choose = (i) => {
    const place = places[i];
    const own = places.map((each) => (each.photo === place.photo ? each : null));
    viewer = new Photo(frame, version, { ...photos[place.photo], number: place.photo },
      own.filter(Boolean));
    viewer.show(place);
  };
  element.replaceChildren(make("p", { class: found ? "verdict found" : "verdict", role: "status" },
    found ? "It was found in a photograph." : "It was not found in the photographs; these are the places most like it."),
  make("ol", { class: "places" }, ...buttons), frame, make("p", { class: "actions" }, whole, nearer, farther));
  if (places.length) choose(0);
}
