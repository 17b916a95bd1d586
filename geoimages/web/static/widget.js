// The widget of a notebook: the map with its lasso, matches, and blind votes.

import { count, make, rock } from "./elements.js";
import { cards, legend } from "./matches.js";
import { Scatter, painted } from "./scatter.js";

const CHOICES = [["left", "Left"], ["right", "Right"], ["tie", "As good"], ["skip", "Cannot say"]];

export default {
  render({ model, el }) {
    el.classList.add("geoimages-explorer");
    const waiting = new Map();
    let last = 0;
    const ask = (kind, content = {}) => new Promise((done, fail) => {
      last += 1;
      waiting.set(last, { done, fail });
      model.send({ ...content, id: last, kind });
    });
    model.on("msg:custom", ({ id, result, error }) => {
      const { done, fail } = waiting.get(id) ?? {};
      waiting.delete(id);
      if (error) fail?.(new Error(error));
      else done?.(result);
    });

    const wrong = make("p", { class: "error", role: "alert", hidden: true });
    const run = async (call) => {
      wrong.hidden = true;
      try {
        await call();
      } catch (error) {
        wrong.textContent = error.message;
        wrong.hidden = false;
      }
    };
    const map = make("div", { class: "map", tabindex: "0", role: "application",
      "aria-label": "Map of the collection: similar pictures are close" });
    const key = make("div", { class: "legend" });
    const title = make("p", { class: "lead", role: "status" }, "Click a point to ask about its picture, or draw a lasso.");
    const shares = make("div", { class: "legend" });
    const list = make("ol", { class: "matches" });
    const lasso = make("button", { "aria-pressed": "false", onclick: () => {
      scatter.lassoing = !scatter.lassoing;
      map.classList.toggle("lasso", scatter.lassoing);
      lasso.setAttribute("aria-pressed", String(scatter.lassoing));
      lasso.classList.toggle("primary", scatter.lassoing);
    } }, "Lasso");
    const whole = make("button", { onclick: () => scatter.whole() }, "Whole map");
    const trials = make("button", { hidden: !model.get("trials"), onclick: () => run(() => vote()) }, "Vote blindly");
    el.replaceChildren(make("div", { class: "explorer" }, make("p", { class: "actions" }, lasso, whole, trials), map, key, wrong, title, shares, list));

    const shape = model.get("shape");
    const scatter = new Scatter(map, {
      picture: (position) => ask("picture", { position }),
      onopen: (position) => run(() => ask("open", { position })),
      onselect: (positions) => run(async () => {
        const rows = await ask("select", { positions });
        title.textContent = `${count(positions.length)} pictures selected: explorer.selected holds their keys.`;
        shares.replaceChildren();
        list.replaceChildren(...rows.map((row) => make("li", {}, make("button", { class: "picture",
          onclick: () => run(() => ask("open", { position: row.position })) }, rock("", row, 128, shape), make("span", { class: "name" }, row.name)))));
      }),
    });
    const draw = () => {
      const { colors, said } = painted(model.get("column"));
      const data = model.get("points");
      const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
      scatter.set(new Float32Array(bytes), colors);
      key.replaceChildren(...said);
    };
    const answer = () => {
      const got = model.get("answer");
      if (!got.matches) return;
      title.textContent = `${got.asked.name}: ${got.found ? "the same picture was found again" : "it was not found a second time; these are the most similar ones"}.`;
      shares.replaceChildren(...legend(got));
      list.replaceChildren(...cards(got, () => null));
      list.querySelectorAll("a").forEach((link, i) => {
        link.href = "#";
        link.onclick = (event) => { event.preventDefault(); run(() => ask("open", { position: got.matches[i].position })); };
      });
      scatter.choose([got.asked.position, ...got.matches.map((match) => match.position)]);
    };

    async function vote(said = {}) {
      const trial = await ask(said.choice ? "vote" : "trial", said);
      shares.replaceChildren();
      if (!trial) {
        title.textContent = "You have answered all trials.";
        list.replaceChildren();
        return;
      }
      title.textContent = `Which side is more like this picture? ${count(trial.pending)} to go.`;
      const started = performance.now();
      const pictures = (rows) => make("ul", { class: "thumbs" }, ...rows.map((row) => make("li", {}, rock("", row, 96, shape, row.name))));
      const buttons = CHOICES.map(([choice, word]) => make("button", { onclick: () =>
        run(() => vote({ trial: trial.name, choice, seconds: (performance.now() - started) / 1000 })) }, word));
      list.replaceChildren(make("li", { class: "wide trial" }, rock("", trial.query, 176, shape, "The picture that was asked about"),
        make("div", { class: "sides" }, make("div", { class: "side" }, pictures(trial.left)), make("div", { class: "side" }, pictures(trial.right))),
        make("p", { class: "actions center" }, ...buttons)));
    }

    model.on("change:points change:column", draw);
    model.on("change:answer", answer);
    draw();
    answer();
    return () => { model.off("change:points change:column", draw); model.off("change:answer", answer); };
  },
};
