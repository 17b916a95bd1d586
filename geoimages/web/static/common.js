// What all views share: requests, progress, errors, pictures and keys.

import { make } from "./elements.js";

export * from "./elements.js";

export const $ = (selector, root = document) => root.querySelector(selector);

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
export async function request(url, { body, json, signal, as = "json", doing = "Working" } = {}) {
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
    const slow = setTimeout(() => { showProgress(doing); said = true; }, 1000);
    try {
      response = await fetch(url, options);
    } catch (error) {
      if (error.name !== "AbortError") throw new Error("The page does not answer; is it still running where it was started?");
      if (said) hideProgress();
      throw error;
    } finally {
      clearTimeout(slow);
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
