// Map: all pictures as points; a lasso makes a list to search, export or label.

import {
  $, address, askAbout, count, hideError, make, onKeys, request, rockLink, run, save, showError, source,
} from "./common.js";
import { Scatter, painted } from "./scatter.js";

const MOST_LISTED = 120;
const who = (sessionStorage.who ||= crypto.randomUUID?.() ?? String(Math.random()));
let about;
let map;
let selected = [];

async function paint() {
  const column = await request(address("/api/column", { name: $("#by").value }));
  const { colors, said } = painted(column);
  $("#key").replaceChildren(...said);
  return colors;
}

async function load() {
  hideError();
  const settings = { features: $("#features").value, method: $("#method").value };
  history.replaceState({}, "", address("/map", { ...settings, color: $("#by").value }));
  const data = await request(address("/api/map", { ...settings, version: about.version }), { as: "arrayBuffer" });
  map.set(new Float32Array(data), await paint());
}

async function select(positions) {
  selected = positions;
  const none = !positions.length;
  $("#chosen-tools").hidden = none;
  if (none) $("#chosen-text").replaceChildren("Nothing is selected. Draw a lasso around points, or press ", make("kbd", {}, "A"), " to take all that is in view.");
  else {
    const [n, one] = [positions.length, positions.length === 1];
    const shown = n > MOST_LISTED ? `, the first ${MOST_LISTED} shown` : "";
    $("#chosen-text").textContent = `${count(n)} ${one ? "picture" : "pictures"}${shown}. Click ${one ? "it" : "one"} to ask about it.`;
  }
  const rows = none ? [] : await request(address("/api/at", { i: positions.slice(0, MOST_LISTED).join(",") }));
  if (selected === positions) {
    $("#list").replaceChildren(...rows.map((row) => {
      const link = rockLink(about.version, row, 72, about.shape, "");
      link.lastChild.remove();
      link.setAttribute("aria-label", row.name);
      return make("li", {}, link);
    }));
  }
}

function tip() {
  const box = make("div", { class: "tip", hidden: true });
  $("#map").append(box);
  let last = -1;
  return async (position, x, y) => {
    box.hidden = position < 0;
    if (position < 0) { last = -1; return; }
    box.style.left = `${Math.min(x + 14, map.width - 140)}px`;
    box.style.top = `${Math.min(y + 14, map.height - 170)}px`;
    if (position === last) return;
    last = position;
    const [row] = await request(address("/api/at", { i: position }));
    if (last !== position) return;
    box.replaceChildren(make("img", { src: source(about.version, position, 128), alt: "",
      class: Math.max(...about.shape) <= 96 ? "rock small" : "rock" }), make("span", {}, row.name));
  };
}

async function open(position) {
  const [row] = await request(address("/api/at", { i: position }));
  location.href = askAbout(row);
}

function lasso(on) {
  map.lassoing = on;
  $("#map").classList.toggle("lasso", on);
  for (const radio of document.getElementsByName("mode")) radio.checked = (radio.value === "lasso") === on;
}

async function label(event) {
  event.preventDefault();
  const name = $("#label").value.trim();
  if (!name || !selected.length) return;
  await request("/api/label", { json: { positions: selected, label: name, who, version: about.version } });
  $("#chosen-text").textContent = `${count(selected.length)} ${selected.length > 1 ? "pictures are" : "picture is"} now labeled ${name} in ${about.labels}; the collection is as it was.`;
  if ($("#by").value === "given labels") map.paint(await paint());
}

run(async () => {
  about = await request("/api/about");
  const query = new URLSearchParams(location.search);
  const options = (names) => names.map((name) => make("option", { value: name }, name));
  $("#by").replaceChildren(...options([...about.colors, "given labels"]));
  $("#features").replaceChildren(...options(about.features));
  $("#labels").replaceChildren(...options(Object.keys(about.classes)));
  for (const [id, name] of [["by", "color"], ["features", "features"], ["method", "method"]]) {
    const value = query.get(name);
    if ([...$(`#${id}`).options].some((option) => option.value === value)) $(`#${id}`).value = value;
  }
  map = new Scatter($("#map"), {
    picture: (position, side) => source(about.version, position, side),
    onselect: (positions) => run(() => select(positions)),
    onopen: (position) => run(() => open(position)),
  });
  window.scatter = map; // for who measures it
  map.onhover = tip();
  $("#by").onchange = () => run(async () => map.paint(await paint()));
  $("#features").onchange = $("#method").onchange = () => run(load);
  for (const radio of document.getElementsByName("mode")) radio.onchange = () => lasso(radio.value === "lasso");
  $("#fit").onclick = () => map.whole();
  const clear = () => { map.choose([]); run(() => select([])); };
  $("#clear").onclick = clear;
  $("#label-form").onsubmit = (event) => label(event).catch(showError);
  $("#export").onclick = () => run(async () =>
    save(await request("/api/list.csv", { json: { positions: selected, version: about.version }, as: "blob" }), "selection.csv"));
  const step = 60;
  onKeys({
    ArrowLeft: () => map.move(step, 0), ArrowRight: () => map.move(-step, 0),
    ArrowUp: () => map.move(0, step), ArrowDown: () => map.move(0, -step),
    "+": () => map.zoom(1.4), "=": () => map.zoom(1.4), "-": () => map.zoom(1 / 1.4), 0: () => map.whole(),
    l: () => lasso(!map.lassoing), a: () => map.select(map.inView()), Escape: clear,
  });
  await load();
});
