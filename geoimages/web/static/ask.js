// Ask: a picture comes in, its classes and its matches come out.

import {
  $, SMALL, address, count, hideError, make, onKeys, percent, request, rockLink, run, save, showError, source,
} from "./common.js";
import { cards, legend } from "./matches.js";
import { showPlaces } from "./photos.js";

const SETTINGS = ["features", "model", "metric", "k", "color", "orientation", "box"];
const uploads = new Map(); // pictures of this visit, which the address cannot hold
let about; // the collection
let answer;
let pending; // to abort

function state() {
  const query = new URLSearchParams(location.search);
  const question = { key: query.get("key"), where: query.getAll("where") };
  for (const name of SETTINGS) question[name] = query.get(name);
  question.upload = history.state?.upload;
  return question;
}

function asked(question) {
  const { upload, ...rest } = question;
  return rest;
}

// Asks, and keeps the question in the address and in the history.
function go(change, { replace = false } = {}) {
  const question = { ...state(), ...change };
  const url = address("/", asked(question));
  history[replace ? "replaceState" : "pushState"]({ upload: question.upload }, "", url);
  return show();
}

function askAbout(file) {
  if (!file) return;
  const id = `${Date.now()}-${uploads.size}`;
  uploads.set(id, file);
  go({ key: null, upload: id, box: null });
}

async function show() {
  if (!about) return; // asked as soon as the collection is known
  hideError();
  const question = state();
  const file = uploads.get(question.upload);
  pending?.abort();
  if (!question.key && !file) {
    answer = null;
    $("#answer").hidden = true;
    $("#start").hidden = false;
    document.title = `Ask · ${about?.name ?? ""}`;
    return;
  }
  pending = new AbortController();
  const { signal } = pending;
  $("#matches").classList.add("waiting");
  try {
    const got = await request(address("/api/ask", asked(question)), { body: question.key ? null : file, signal, doing: "Searching" });
    if (!signal.aborted) render(got, question, file);
  } catch (error) {
    showError(error);
    if (error.name !== "AbortError" && !answer) $("#start").hidden = false;
  } finally {
    if (!signal.aborted) $("#matches").classList.remove("waiting");
  }
}

function render(got, question, file) {
  draft = null;
  const first = $("#answer").hidden || answer?.picture !== got.picture;
  answer = got;
  $("#start").hidden = true;
  $("#answer").hidden = false;
  const name = got.asked ? got.asked.name : file.name || "Your picture";
  document.title = `${name} · ${about.name}`;
  $("#asked-name").textContent = name;
  showCandidate(got, question, file);
  $("#classes").replaceChildren(...classesOf(got));
  const facts = got.asked ? Object.entries({ labeled: got.asked.label || "not yet", ...got.asked.about }) : [];
  $("#facts").replaceChildren(...facts.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, String(value))]));
  $("#notes").replaceChildren(...got.notes.map((note) => make("li", {}, note)));
  verdict(got, question);
  $("#legend").replaceChildren(...legend(got));
  $("#matches").replaceChildren(...cards(got, (match) => address("/", { ...asked(question), box: null, key: match.key })));
  fillSettings(question);
  $("#photos").hidden = !about.photos;
  $("#places").replaceChildren();
  if (first) {
    window.scrollTo({ top: 0 });
    $("#where-title").focus({ preventScroll: true });
  }
}

function showCandidate(got, question, file) {
  const image = $("#candidate");
  const url = got.asked ? source(got.version, got.asked.position, 512) : URL.createObjectURL(file);
  image.onerror = () => { image.onerror = null; image.src = got.picture; }; // a TIFF, say
  image.onload = () => {
    image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= SMALL);
    placeBox(question.box?.split(",").map(Number));
    if (url.startsWith("blob:")) URL.revokeObjectURL(url);
  };
  image.src = url;
  $("#whole").hidden = !question.box;
}

function classesOf(got) {
  if (!got.classifier) {
    const counts = {};
    for (const match of got.matches) if (match.label) counts[match.label] = (counts[match.label] || 0) + 1;
    const [best] = Object.entries(counts).sort((one, other) => other[1] - one[1]);
    if (!best) return [make("p", { class: "hint" }, "The collection has no labels.")];
    return [
      make("p", {}, make("strong", {}, best[0]), `: the label of ${best[1]} of the ${got.matches.length} matches.`),
      make("p", { class: "hint" }, "For a probability, train a classifier (", make("code", {}, "geoimages train"), ") and start the page with ",
        make("code", {}, "--model"), "."),
    ];
  }
  const rows = got.classes.map(({ name, probability }) => {
    const bar = make("i");
    bar.style.width = `${100 * probability}%`;
    return make("div", { class: "class" },
      make("div", { class: "line" }, make("span", {}, name), make("span", {}, percent(probability))),
      make("div", { class: "meter" }, bar));
  });
  if (got.unlike) {
    rows.push(make("p", { class: "note warn" }, make("strong", {}, "Unlike the collection. "),
      "Hardly any picture that the classifier learned from is as far from the others; do not trust the class."));
  }
  if (!got.calibrated) {
    rows.push(make("p", { class: "hint" }, "Too few pictures to calibrate the probabilities: they may be too high."));
  }
  return rows;
}

function verdict(got, question) {
  const box = $("#verdict");
  const best = [...got.matches].sort((one, other) => (other.same ?? 0) - (one.same ?? 0))[0];
  box.classList.toggle("found", got.found);
  if (!got.matches.length) {
    box.replaceChildren("There is nothing else to compare with.");
  } else if (got.found) {
    box.replaceChildren(make("span", {}, make("strong", {}, got.asked ? "The same picture again: " : "The same picture: "),
      `${best.name} (${percent(best.same)} certain).`));
  } else {
    const thorough = (question.features || about.features[0]) === "pattern";
    box.replaceChildren(make("span", {}, make("strong", {}, got.asked ? "It was not found a second time. " : "The same picture was not found. "),
      thorough ? "These are the nearest of the collection." : "These are the most similar ones."));
  }
}

/* Settings */

function fillSettings(question) {
  const form = $("#form");
  const value = (name, usual) => { form.elements[name].value = question[name] ?? usual; };
  value("features", about.features[0]);
  value("model", "pairwise");
  value("metric", "correlation");
  value("orientation", "");
  value("k", 12);
  value("color", 0.5);
  const features = form.elements.features.value;
  $("#color-label").hidden = !["rock", "pattern"].includes(features);
  for (const radio of document.getElementsByName("looking")) radio.checked = radio.value === features;
  const said = [`${features} features`, form.elements.metric.value];
  if (question.color) said.push(`color ${question.color}`);
  if (question.orientation) said.push(question.orientation);
  if (question.model === "kmeans") said.push("nearest clusters");
  said.push(question.where.length ? question.where.join(", ") : "all pictures");
  $("#settings").textContent = said.join(" · ");
  $("#conditions").replaceChildren(...question.where.map((condition) =>
    make("button", { type: "button", "aria-label": `Remove ${condition}`,
      onclick: () => go({ where: state().where.filter((each) => each !== condition) }) }, `${condition} ×`)));
}

function prepareSettings() {
  const form = $("#form");
  const options = (names) => names.map((name) => make("option", { value: name }, name));
  form.elements.features.replaceChildren(...options(about.features));
  form.elements.metric.replaceChildren(...options(about.metrics));
  form.addEventListener("change", (event) => {
    const { name, value } = event.target;
    if (SETTINGS.includes(name)) go({ [name]: value });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  $("#defaults").onclick = () => go({ ...Object.fromEntries(SETTINGS.map((name) => [name, null])), where: [] });
  for (const radio of document.getElementsByName("looking")) {
    radio.onchange = () => go({ features: radio.value, color: null, orientation: null });
  }
  const columns = $("#filter-column");
  columns.replaceChildren(...options(about.columns.map((column) => column.name)));
  $("#filters").hidden = !about.columns.length;
  columns.onchange = filterValue;
  filterValue();
  $("#filter-add").onclick = addFilter;
}

const chosenColumn = () => about.columns.find((each) => each.name === $("#filter-column").value);

function filterValue() {
  const column = chosenColumn();
  if (!column) return;
  const number = (name, value, label) => make("input", { type: "number", step: "any", id: name, value, "aria-label": label });
  $("#filter-value").replaceChildren(...(column.values
    ? [make("select", { id: "value", "aria-label": "Value" }, ...column.values.map((value) => make("option", {}, value)))]
    : [number("low", column.low, "From"), " – ", number("high", column.high, "To")]));
}

function addFilter() {
  const column = chosenColumn();
  const condition = column.values ? `${column.name}=${$("#value").value}` : `${column.name}=${$("#low").value}..${$("#high").value}`;
  const { where } = state();
  if (!where.includes(condition)) go({ where: [...where, condition] });
}

/* A part of the picture */

// The rectangle that the picture itself takes within its frame.
function shown() {
  const image = $("#candidate");
  const frame = image.getBoundingClientRect();
  const scale = Math.min(frame.width / image.naturalWidth, frame.height / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  return { left: frame.left + (frame.width - width) / 2, top: frame.top + (frame.height - height) / 2, width, height };
}

function placeBox(box) {
  const mark = $("#box");
  mark.hidden = !box;
  if (!box) return;
  const area = shown();
  const frame = $("#figure").getBoundingClientRect();
  const [left, top, right, bottom] = box;
  mark.style.left = `${area.left - frame.left + left * area.width - 3}px`;
  mark.style.top = `${area.top - frame.top + top * area.height - 3}px`;
  mark.style.width = `${(right - left) * area.width}px`;
  mark.style.height = `${(bottom - top) * area.height}px`;
}

// Moves a box by keys: arrows, plus and minus; Enter searches in it.
let draft = null;
function boxByKeys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const kept = () => state().box?.split(",").map(Number);
  const box = draft ?? kept() ?? [0.25, 0.25, 0.75, 0.75];
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], "+": [0, 0, 1], "=": [0, 0, 1], "-": [0, 0, -1] };
  if (steps[event.key]) {
    const [right, down, larger = 0] = steps[event.key].map((step) => 0.05 * step);
    const shift = (low, high, by) => Math.min(1 - high, Math.max(-low, by));
    const [x, y] = [shift(box[0], box[2], right), shift(box[1], box[3], down)];
    const next = [box[0] + x - larger, box[1] + y - larger, box[2] + x + larger, box[3] + y + larger].map((side) => Math.min(1, Math.max(0, side)));
    if (next[2] - next[0] > 0.05 && next[3] - next[1] > 0.05) draft = next;
    else draft = box;
    placeBox(draft);
  } else if (event.key === "Enter") {
    draft = null;
    go({ box: box.map((value) => value.toFixed(3)).join(",") });
  } else if (event.key === "Escape") {
    draft = null;
    placeBox(kept());
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

function drawBoxes() {
  const figure = $("#figure");
  let from = null;
  const at = (event) => {
    const area = shown();
    const clip = (value) => Math.min(1, Math.max(0, value));
    return [clip((event.clientX - area.left) / area.width), clip((event.clientY - area.top) / area.height)];
  };
  const boxTo = ([x, y]) => [Math.min(from[0], x), Math.min(from[1], y), Math.max(from[0], x), Math.max(from[1], y)];
  figure.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    figure.setPointerCapture(event.pointerId);
    from = at(event);
  });
  figure.addEventListener("pointermove", (event) => { if (from) placeBox(boxTo(at(event))); });
  figure.addEventListener("pointerup", (event) => {
    if (!from) return;
    const box = boxTo(at(event));
    from = null;
    if (box[2] - box[0] < 0.03 || box[3] - box[1] < 0.03) placeBox(state().box?.split(",").map(Number));
    else go({ box: box.map((value) => value.toFixed(3)).join(",") });
  });
  figure.addEventListener("pointercancel", () => { from = null; placeBox(null); });
  figure.onkeydown = (event) => boxByKeys(event);
  $("#whole").onclick = () => go({ box: null });
  window.addEventListener("resize", () => { if (answer) placeBox(state().box?.split(",").map(Number)); });
}

/* Ways in */

function waysIn() {
  const drop = $("#drop");
  const choose = () => $("#file").click();
  $("#choose").onclick = (event) => { event.stopPropagation(); choose(); };
  drop.onclick = (event) => { if (!event.target.closest("button")) choose(); };
  $("#again").onclick = choose;
  for (const input of [$("#file"), $("#photo")]) {
    input.onchange = () => { askAbout(input.files[0]); input.value = ""; };
  }
  let depth = 0;
  const over = (there) => { $("#over").hidden = !there; };
  const carries = (event) => [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragenter", (event) => { if (carries(event)) { depth += 1; over(true); } });
  document.addEventListener("dragleave", (event) => { if (carries(event) && --depth <= 0) { depth = 0; over(false); } });
  document.addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    over(false);
    askAbout(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file) { event.preventDefault(); askAbout(file); }
  });
  $("#camera").onclick = (event) => { event.stopPropagation(); takePhoto(); };
}

async function takePhoto() {
  const touch = matchMedia("(pointer: coarse)").matches;
  if (touch || !navigator.mediaDevices?.getUserMedia) return $("#photo").click();
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch {
    return showError(new Error("No camera can be used here; choose a picture instead."));
  }
  const dialog = $("#shoot");
  const video = $("#video");
  video.srcObject = stream;
  dialog.showModal();
  await video.play();
  dialog.onclose = () => { for (const track of stream.getTracks()) track.stop(); };
  $("#shoot-close").onclick = () => dialog.close();
  $("#snap").onclick = () => {
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => askAbout(new File([blob], "Photo", { type: blob.type })), "image/jpeg", 0.95);
    dialog.close();
  };
}

function findByName() {
  const input = $("#key");
  let asking;
  input.addEventListener("input", async () => {
    asking?.abort();
    const list = $("#found");
    const text = input.value.trim();
    input.setAttribute("aria-expanded", String(Boolean(text)));
    if (!text) return list.replaceChildren();
    asking = new AbortController();
    try {
      const rows = await request(address("/api/keys", { q: text }), { signal: asking.signal });
      list.replaceChildren(...(rows.length
        ? rows.map((row) => make("li", {}, rockLink(about.version, row, 90, about.shape, row.name)))
        : [make("li", { class: "hint" }, "No name contains this.")]));
    } catch (error) {
      showError(error);
    }
  });
  // What was typed before the page was ready.
  if (input.value) input.dispatchEvent(new Event("input"));
}

async function takeAway(form) {
  const question = state();
  const body = question.key ? null : uploads.get(question.upload);
  const blob = await request(address(`/api/ask.${form}`, asked(question)), { body, as: "blob", doing: "Preparing the file" });
  save(blob, `matches.${form}`);
}

async function locate() {
  const button = $("#locate");
  button.disabled = true;
  try {
    const question = state();
    const { key, box } = question;
    const body = key ? null : uploads.get(question.upload);
    showPlaces($("#places"), await request(address("/api/locate", { key, box }), { body, doing: "Searching the photographs" }));
  } finally {
    button.disabled = false;
  }
}

function move(step) {
  const links = [...document.querySelectorAll("#matches a")];
  const place = links.indexOf(document.activeElement);
  if (!links.length || (place < 0 && !$("#where-title").matches(":focus") && document.activeElement !== document.body)) return false;
  links[Math.min(links.length - 1, Math.max(0, place + step))].focus();
}

run(async () => {
  // A link to another question of this page needs no new page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='/?key=']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    history.pushState({}, "", link.getAttribute("href"));
    show();
  });
  waysIn();
  drawBoxes();
  for (const button of document.querySelectorAll("#take [data-form]")) {
    button.onclick = () => { $("#take").open = false; run(() => takeAway(button.dataset.form)); };
  }
  $("#locate").onclick = () => run(locate);
  $("#copy").onclick = async () => {
    const kept = Boolean(state().key);
    if (kept) await navigator.clipboard.writeText(location.href);
    $("#take").open = false;
    if (!kept) showError(new Error("Only questions about pictures of the collection have an address."));
  };
  window.addEventListener("popstate", show);
  const digits = Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) =>
    [String(digit), () => document.querySelectorAll("#matches a")[digit - 1]?.click()]));
  onKeys({
    ...digits,
    o: () => $("#file").click(),
    n: () => go({ key: null, upload: null, box: null }),
    b: () => $("#figure").focus(),
    s: () => { $("#steer").open = !$("#steer").open; $("#steer summary").focus(); },
    "/": () => $("#key").focus(),
    ArrowRight: () => move(1),
    ArrowLeft: () => move(-1),
  });
  if (!new URLSearchParams(location.search).get("key")) $("#start").hidden = false;
  about = await request("/api/about");
  findByName();
  $("#count").textContent = `${count(about.pictures)} pictures`;
  prepareSettings();
  const { version, classes } = await request(address("/api/samples", { each: 2 }));
  const each = classes.length > 6 ? 1 : 2;
  const shownOf = classes.flatMap(({ pictures }) => pictures.slice(0, each)).slice(0, 16);
  $("#samples").replaceChildren(...shownOf.map((row) => make("li", {}, rockLink(version, row, 90, about.shape))));
  await request("/api/state");
  if (!pending) await show(); // or else somebody was faster, and asks already
});
