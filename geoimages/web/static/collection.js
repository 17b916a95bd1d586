// Collection: counts, a sheet of samples, the ledger, and copies.

import { $, address, count, make, request, rockLink, run } from "./common.js";

const REASONS = {
  missing: "no such file", "empty-file": "the file is empty", "not-a-picture": "no known picture format",
  truncated: "the file ends too early", undecodable: "the picture's data are damaged",
  "too-large": "too many pixels", "bit-depth": "values that cannot be used", "empty-mask": "no rock is left",
  "other-size": "another size than the rest", "duplicate-name": "the name stands twice", unreadable: "cannot be read",
  "not-sampled": "not in the sample",
};

function summary(about) {
  const [height, width, channels] = about.shape;
  const masked = channels === 4 ? " with masks" : "";
  const labels = about.unlabeled ? `, ${count(about.unlabeled)} without a label` : "";
  const classes = Object.keys(about.classes).length;
  return `${count(about.pictures)} pictures of ${height} × ${width} pixels${masked} in ${count(classes)} classes${labels} `
    + `(${(about.bytes / 1e6).toFixed(1)} MB).`;
}

function sheet(version, classes, shape) {
  return classes.map(({ label, count: n, pictures }) =>
    make("section", {}, make("div", {}, make("h3", {}, label || "No label"), make("span", { class: "hint" }, count(n))),
      make("ul", { class: "strip" }, ...pictures.map((row) =>
        make("li", {}, rockLink(version, row, 80, shape, row.name.startsWith(`${row.label}.`) ? row.name.slice(row.label.length + 1) : row.name))))));
}

function columns(about) {
  return about.columns.filter((column) => column.name !== "label").flatMap((column) => [
    make("dt", {}, column.name),
    make("dd", {}, column.values
      ? `${count(column.values.length)} values: ${column.values.slice(0, 8).join(", ")}${column.values.length > 8 ? ", …" : ""}`
      : `${column.low} to ${column.high}`)]);
}

async function ledger() {
  const { total, rows } = await request(address("/api/ledger", { status: "refused" }));
  if (!total) return [make("p", { class: "hint" }, "No file was refused.")];
  const lines = rows.map((row) => make("tr", {}, make("td", {}, row.path),
    make("td", {}, REASONS[row.reason] || row.reason), make("td", {}, row.detail), make("td", { class: "n" }, count(row.size))));
  const heads = ["File", "Why it was refused", "Detail", "Bytes"].map((name) => make("th", { scope: "col", class: name === "Bytes" ? "n" : null }, name));
  const more = total > rows.length ? [make("p", { class: "hint" }, `And ${count(total - rows.length)} more.`)] : [];
  return [make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines)), ...more];
}

async function look(shape) {
  const button = $("#look");
  button.disabled = true;
  try {
    const found = await request("/api/duplicates");
    $("#copies").textContent = found.groups ? `${found.summary}.` : "No picture has a copy.";
    $("#pairs").replaceChildren(...found.pairs.map(({ kind, pictures }) =>
      make("div", { class: "pair" }, make("p", { class: "hint" }, `${kind} copies with different labels`),
        ...pictures.map((row) => rockLink(found.version, row, 140, shape, `${row.label} · ${row.name}`)))));
    button.hidden = true;
  } finally {
    button.disabled = false;
  }
}

run(async () => {
  const about = await request("/api/about");
  $("#summary").textContent = summary(about);
  const { version, classes } = await request(address("/api/samples", { each: 12 }));
  $("#sheet").replaceChildren(...sheet(version, classes, about.shape));
  const rest = columns(about);
  $("#metadata").hidden = !rest.length;
  $("#columns").replaceChildren(...rest);
  const seen = Object.entries(about.files).map(([status, n]) => `${count(n)} ${status}`);
  $("#files").textContent = seen.length ? `Files seen: ${seen.join(", ")}.` : "The collection was made of arrays.";
  $("#ledger").replaceChildren(...(await ledger()));
  $("#look").onclick = () => run(() => look(about.shape));
});
