// Compare: blind trials of two models, and what the votes say.

import { $, SMALL, address, count, hideError, make, onKeys, percent, request, rock, run, source } from "./common.js";

let about;
let trial = null;
let started = 0;
let busy = false;
const answered = []; // names of trials, for undo
let voter = localStorage.voter || "";

function only(id) {
  for (const each of ["intro", "trial", "verdict"]) $(`#${each}`).hidden = each !== id;
}

async function intro() {
  const votes = await request(address("/api/trials", { voter }));
  only("intro");
  $("#draw").hidden = Boolean(votes.file);
  $("#enter").hidden = !votes.file;
  $("#voter").value = voter;
  if (votes.file) {
    $("#about").replaceChildren(
      `${count(votes.trials)} trials of ${votes.models.join(" and ")}, ${count(votes.votes)} votes so far, in ${votes.file}. `,
      votes.votes ? make("button", { type: "button", onclick: () => run(verdict) }, "What the votes say") : "");
  }
}

async function draw(event) {
  event.preventDefault();
  hideError();
  const button = $("#draw button");
  button.disabled = true;
  try {
    await request("/api/trials", { json: { models: [$("#first").value, $("#second").value], trials: Number($("#n").value) } });
    await intro();
  } finally {
    button.disabled = false;
  }
}

async function next(name) {
  const got = await request(address("/api/trial", { voter, name }));
  if (got.done) {
    trial = null;
    return verdict();
  }
  trial = got;
  only("trial");
  $("#number").textContent = `${got.number} of ${got.total}`;
  const query = $("#query");
  query.src = source(got.version, got.query.position, 180);
  query.classList.toggle("small", Math.max(...about.shape) <= SMALL);
  for (const side of ["left", "right"]) {
    $(`#${side}`).replaceChildren(...got[side].map((row, i) =>
      make("li", {}, rock(got.version, row, 110, about.shape, `${side} answer, picture ${i + 1}`))));
  }
  $("#undo").disabled = !answered.length;
  $("#trial-title").focus({ preventScroll: true });
  started = performance.now();
}

async function vote(choice) {
  if (!trial || busy) return;
  busy = true;
  hideError();
  try {
    const seconds = (performance.now() - started) / 1000;
    await request("/api/vote", { json: { trial: trial.name, voter, choice, seconds } });
    answered.push(trial.name);
    await next();
  } finally {
    busy = false;
  }
}

async function undo() {
  if (answered.length && !busy) await next(answered.pop());
}

function interval(pair) {
  const [leader, share, low, high] = pair.share >= 0.5
    ? [pair.first, pair.share, pair.lower, pair.upper]
    : [pair.second, 1 - pair.share, 1 - pair.upper, 1 - pair.lower];
  const bar = make("div", { class: "scale", role: "img",
    "aria-label": `${percent(share)} of the votes for ${leader}, ${percent(low)} to ${percent(high)}` });
  const range = make("i");
  range.style.left = `${100 * (1 - pair.upper)}%`;
  range.style.width = `${100 * (pair.upper - pair.lower)}%`;
  const mark = make("b");
  mark.style.left = `${100 * (1 - pair.share)}%`;
  bar.append(range, mark, make("u"));
  return make("div", { class: "interval" }, make("div", { class: "ends" }, make("span", {}, `← ${pair.first}`), make("span", {}, `${pair.second} →`)),
    bar, make("p", { class: "hint" }, `${percent(share)} of ${count(pair.votes)} votes for ${leader}; the true share lies `
      + `between ${percent(low)} and ${percent(high)} with a confidence of 95 %.`));
}

async function verdict() {
  const result = await request("/api/verdict");
  only("verdict");
  $("#says").replaceChildren(...result.verdict.split("\n").map((line) => make("p", {}, line)));
  $("#shares").replaceChildren(...result.pairs.filter((pair) => pair.votes).map(interval));
  const number = (value, digits = 0) => (value == null ? "–" : value.toFixed(digits));
  const rows = result.voters.map((each) => make("tr", {}, make("td", {}, each.voter), make("td", { class: "n" }, number(each.votes)),
    make("td", { class: "n" }, number(each.ties)), make("td", { class: "n" }, number(each.skips)), make("td", { class: "n" }, `${number(each.seconds, 1)} s`)));
  const heads = ["Voter", "Votes", "Ties", "Skips", "Median time"].map((name, i) => make("th", { scope: "col", class: i ? "n" : null }, name));
  $("#voters").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)));
  $("#verdict-title").focus({ preventScroll: true });
}

run(async () => {
  about = await request("/api/about");
  const names = about.features.flatMap((features) => ["pairwise", "kmeans"].map((model) => `${model}:${features}`));
  for (const [id, usual] of [["first", "pairwise:pixels"], ["second", `pairwise:${about.features[0]}`]]) {
    $(`#${id}`).replaceChildren(...names.map((name) => make("option", {}, name)));
    $(`#${id}`).value = usual;
  }
  $("#draw").onsubmit = (event) => run(() => draw(event));
  $("#enter").onsubmit = (event) => {
    event.preventDefault();
    voter = $("#voter").value.trim();
    localStorage.voter = voter;
    if (voter) run(() => next());
  };
  for (const button of document.querySelectorAll("[data-choice]")) button.onclick = () => run(() => vote(button.dataset.choice));
  $("#undo").onclick = () => run(undo);
  $("#stop").onclick = () => { trial = null; run(intro); };
  $("#more").onclick = () => run(intro);
  const during = (handler) => () => (trial ? run(handler) : false);
  onKeys({ 1: during(() => vote("left")), 2: during(() => vote("right")), 0: during(() => vote("tie")), s: during(() => vote("skip")), u: during(undo) });
  await intro();
});
