// The ranked table as cards: picture, similarity, rotation, shares, verification.

import { askAbout, make, percent, rock } from "./elements.js";

const KNOWN = ["color", "tone", "texture", "hog", "conv"];

export function blockClass(blocks, i) {
  const name = blocks[i].name;
  if (KNOWN.includes(name)) return `b-${name}`;
  return `b-${blocks.slice(0, i).filter((block) => !KNOWN.includes(block.name)).length % 3}`;
}

export function turned(match) {
  const parts = [];
  if (match.orientation) parts.push(`rotated ${Math.round(match.orientation)}°`);
  if (match.mirrored) parts.push("mirrored");
  return parts.join(", ");
}

function shares(answer, match, longest) {
  const total = match.shares.reduce((sum, share) => sum + share, 0);
  const words = answer.blocks.map((block, i) => `${block.word} ${percent(match.shares[i] / (total || 1))}`);
  const bar = make("span", {
    class: "shares", role: "img", title: words.join(", "),
    "aria-label": `What differs: ${words.join(", ")}`,
  });
  match.shares.forEach((share, i) => {
    const part = make("i", { class: blockClass(answer.blocks, i) });
    part.style.width = `${(100 * share) / longest}%`;
    bar.append(part);
  });
  return bar;
}

export function legend(answer) {
  const similarity = make("span", { class: "line" }, "The number is the similarity: 1 is identical.");
  if (!answer.blocks.length) return [similarity];
  const entries = answer.blocks.map((block, i) =>
    make("span", {}, make("span", { class: `dot ${blockClass(answer.blocks, i)}` }), block.word));
  return [similarity, make("span", {}, "The bars show what differs, and how much:"), ...entries];
}

export function cards(answer, link = askAbout) {
  const totals = answer.matches.map((match) => match.shares.reduce((sum, share) => sum + share, 0));
  const longest = Math.max(...totals, 1e-9);
  return answer.matches.map((match) => {
    const same = match.same !== null && match.same >= 0.5;
    const label = match.label || "no label";
    const rest = match.label && match.name.startsWith(`${match.label}.`)
      ? match.name.slice(match.label.length + 1) : match.name;
    const about = Object.entries(match.about).slice(0, 3).map(([name, value]) => `${name} ${value}`);
    return make("li", { class: same ? "same" : null },
      make("a", { href: link(match), "data-key": match.key },
        rock(answer.version, match, 180, answer.shape),
        make("span", { class: "top" }, make("span", {}, label),
          make("span", { title: "similarity: 1 is identical" }, match.similarity.toFixed(2))),
        answer.blocks.length ? shares(answer, match, longest) : null,
        make("span", { class: "name" }, [rest, ...about].join(" · ")),
        turned(match) ? make("div", { class: "turn" }, turned(match)) : null,
        same ? make("div", {}, make("span", { class: "badge" }, "the same picture")) : null));
  });
}
