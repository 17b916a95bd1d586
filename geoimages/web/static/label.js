// Label: the most uncertain or new pictures first, whole groups of copies at once.

import { $, SMALL, address, count, hideError, make, onKeys, request, rock, run, source } from "./common.js";

const WHY = {
  new: "Unlike what the model learned from.",
  uncertain: "The model is unsure between two classes.",
  unlabeled: "It has no label yet.",
};
const who = (sessionStorage.who ||= crypto.randomUUID?.() ?? String(Math.random()));
let about;
let queue = [];
let classes = [];
let skipped = [];
let given = 0;
let file = "";
let busy = false;

const positions = (row) => [row.position, ...row.copies.map((copy) => copy.position)];

async function fill() {
  const known = [...skipped, ...queue.map((row) => row.position)];
  const got = await request(address("/api/to-label", { n: 12, skip: known.join(",") }));
  queue.push(...got.pictures);
  ({ given, file } = got);
  about.version = got.version;
  classes = [...new Set([...classes, ...got.classes])];
}

function show() {
  const row = queue[0];
  $("#work").hidden = !row;
  $("#done").hidden = Boolean(row);
  $("#count").textContent = given ? `${count(given)} ${given > 1 ? "pictures" : "picture"} labeled, in ${file}.` : "";
  for (const each of document.querySelectorAll(".file")) each.textContent = file;
  if (!row) return;
  const small = Math.max(...about.shape) <= SMALL;
  const image = $("#subject");
  image.src = source(about.version, row.position, 360);
  image.className = small ? "main small" : "main";
  image.alt = row.name;
  const told = [row.name, row.label ? `labeled ${row.label} so far` : "no label so far", WHY[row.reason]];
  $("#about").textContent = told.filter(Boolean).join(" · ");
  $("#copies").replaceChildren(...(row.copies.length ? [
    make("p", { class: "hint" }, `and ${count(row.copies.length)} ${row.copies.length > 1 ? "copies" : "copy"}, labeled with it`),
    make("div", { class: "thumbs" }, ...row.copies.slice(0, 12).map((copy) => rock(about.version, copy, 72, about.shape, copy.name))),
  ] : []));
  $("#classes").replaceChildren(...classes.map((name, i) => make("li", {},
    make("button", { onclick: () => run(() => label(name)) }, i < 9 ? make("kbd", {}, String(i + 1)) : "", name))));
  $("#next").replaceChildren(...queue.slice(1, 9).map((each) => make("li", {}, make("button", { title: each.name, onclick: () => bring(each) },
    rock(about.version, each, 90, about.shape, each.name)))));
}

function bring(row) {
  queue = [row, ...queue.filter((each) => each !== row)];
  show();
}

async function advance() {
  const done = new Set(positions(queue[0]));
  queue = queue.filter((row) => !done.has(row.position));
  if (queue.length < 6) await fill();
  show();
}

async function label(name) {
  if (!queue.length || busy || !name.trim()) return;
  busy = true;
  hideError();
  try {
    const got = await request("/api/label", { json: { positions: positions(queue[0]), label: name, who, version: about.version } });
    ({ given } = got);
    if (!classes.includes(name)) classes.push(name);
    await advance();
    ({ given } = got);
    show();
  } finally {
    busy = false;
  }
}

async function undo() {
  hideError();
  const got = await request("/api/unlabel", { json: { who } });
  ({ given } = got);
  const [row, ...copies] = got.pictures;
  if (row) queue = [{ ...row, copies }, ...queue.filter((each) => each.position !== row.position)];
  else if (skipped.length) skipped.pop();
  show();
}

async function skip() {
  if (!queue.length) return;
  skipped.push(queue[0].position);
  await advance();
}

run(async () => {
  about = await request("/api/about");
  $("#why").replaceChildren(...(about.classifier ? ["Pictures that the model finds new or is unsure of come first."]
    : ["Pictures without a label come first; with a classifier (", make("code", {}, "--model"), ") those that it is unsure of."]),
  " Labels go to a file beside the collection, which itself is never changed.");
  $("#skip").onclick = () => run(skip);
  $("#undo").onclick = () => run(undo);
  $("#other").onsubmit = (event) => {
    event.preventDefault();
    const name = $("#name").value.trim();
    $("#name").value = "";
    $("#name").blur();
    run(() => label(name));
  };
  const digits = Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) => [digit, () => classes[digit - 1] && run(() => label(classes[digit - 1]))]));
  onKeys({ ...digits, s: () => run(skip), u: () => run(undo) });
  await fill();
  show();
});
