// What all views share: requests, progress, errors, pictures and keys.

export const $ = (selector, root = document) => root.querySelector(selector);

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

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export function showProgress(stage, fraction) {
  const box = $("#progress");
  box.hidden = false;
  $("p", box).textContent = `${stage} …`;
  const bar = $("progress", box);
  if (fraction == null) bar.removeAttribute("value");
  else bar.value = fraction;
}

export function hideProgress() {
  $("#progress").hidden = true;
}

export function showError(error) {
  if (error.name === "AbortError") return;
  hideProgress();
  const box = $("#error");
  box.textContent = error.message;
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
}

export function hideError() {
  $("#error").hidden = true;
}

// Asks the server, and waits with progress for what is being prepared.
export async function request(url, { body, json, signal, as = "json" } = {}) {
  const options = { signal, method: body || json ? "POST" : "GET" };
  if (json) {
    options.body = JSON.stringify(json);
    options.headers = { "Content-Type": "application/json" };
  } else if (body) {
    options.body = body;
    options.headers = { "Content-Type": "application/octet-stream" };
  }
  let pause = 150;
  let said = false;
  for (;;) {
    let response;
    try {
      response = await fetch(url, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The page does not answer; is it still running where it was started?");
    }
    if (response.status === 202) {
      const { preparing } = await response.json();
      if (pause > 300) {
        showProgress(preparing.stage, preparing.fraction);
        said = true;
      }
      await wait(pause);
      pause = Math.min(pause * 1.6, 1500);
      continue;
    }
    if (said) hideProgress();
    if (!response.ok) {
      let text = `The page answered ${response.status}.`;
      try {
        text = (await response.json()).error;
      } catch {
        // not what the page says, but what stands in front of it
      }
      throw new Error(text);
    }
    return response[as]();
  }
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
    src: source(version, row.position, side), alt, loading: "lazy", decoding: "async",
    class: small ? "rock small" : "rock",
  });
}

// Where a click on a picture leads: the question about it.
export const askAbout = (row) => address("/", { key: row.key });

export function rockLink(version, row, side, shape, text = row.label || row.name) {
  return make("a", { href: askAbout(row), title: row.name }, rock(version, row, side, shape),
    make("span", {}, text || row.name));
}

export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const typing = (target) => target.matches?.("input:not([type=radio]):not([type=range]), select, textarea");

// Calls handlers[key] for keys pressed outside of text fields.
export function onKeys(handlers) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (event.key === "?") $("#help").showModal();
    if ($("dialog[open]")) return;
    const handler = handlers[event.key] || handlers[event.key.toLowerCase()];
    if (handler && handler(event) !== false) event.preventDefault();
  });
}

// Runs a view, and says on the page what goes wrong in it.
export async function run(view) {
  try {
    await view();
  } catch (error) {
    showError(error);
  }
}

window.addEventListener("unhandledrejection", (event) => showError(event.reason));
