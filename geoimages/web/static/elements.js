// Elements that all views and the notebook's widget are made of.

// Makes an element: make("a", {href, class: "b"}, "text", child).
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export const count = (n) => n.toLocaleString("en");
export const percent = (share) => {
  const value = 100 * share;
  return value > 99 && value < 100 ? "over 99 %" : value > 0 && value < 1 ? "under 1 %" : `${Math.round(value)} %`;
};

export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const part of Array.isArray(value) ? value : [value]) {
      if (part !== undefined && part !== null && part !== "") query.append(name, part);
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

const SIZES = [64, 128, 256, 512, 1024, 2048];
export const SMALL = 96; // pixels of a side up to which they are shown as they are

// A picture of the collection at the size at which it is shown.
export function source(version, position, side) {
  const wanted = side * (window.devicePixelRatio || 1);
  const size = SIZES.find((each) => each >= wanted) || SIZES.at(-1);
  return `/picture/${version}/${size}/${position}`;
}

export function rock(version, row, side, shape, alt = "") {
  const small = shape && Math.max(...shape) <= SMALL;
  return make("img", {
    src: row.src ?? source(version, row.position, side), alt, loading: "lazy", decoding: "async",
    class: small ? "rock small" : "rock",
  });
}

// Where a click on a picture leads: the question about it.
export const askAbout = (row) => address("/", { key: row.key });

export function rockLink(version, row, side, shape, text = row.label || row.name) {
  return make("a", { href: askAbout(row), title: row.name }, rock(version, row, side, shape),
    make("span", {}, text || row.name));
}
