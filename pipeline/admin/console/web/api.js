// A client of the admin API, which `ttydrain sessions` and `ttydrain drains` use too.

const base = "/api/v1/";

// Refused is an error response, with the API's message.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// visible escapes invisible characters: control, bidirectional and zero-width characters. A name
// with one of them could look like another name. With joiners it keeps joiners, which are harmless
// outside names.
const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const joiner = /[\u200c\u200d\p{Variation_Selector}]/u;
const visible = (text, joiners = false) => text.replace(hidden, (c) =>
  c === "\n" || c === "\t" || joiners && joiner.test(c) ? c : `\\u{${c.codePointAt(0).toString(16)}}`);

async function request(method, path, body, signal) {
  const response = await fetch(base + path, {
    method, signal, body: body === undefined ? undefined : JSON.stringify(body),
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
  });
  if (response.status === 401) {
    location.assign("/console/login");
    await new Promise(() => {}); // the browser leaves the page
  }
  const text = await response.text();
  let value;
  try {
    value = JSON.parse(text, (_, part) => typeof part === "string" ? visible(part) : part);
  } catch {
    value = { error: text || response.statusText };
  }
  if (!response.ok) throw new Refused(response.status, value.error);
  return value;
}

export const get = (path, signal) => request("GET", path, undefined, signal);
export const post = (path, body = {}) => request("POST", path, body);
export const remove = (path) => request("DELETE", path);

// text returns a response that is not JSON.
export async function text(path, signal) {
  const response = await fetch(base + path, { signal });
  const body = await response.text();
  if (!response.ok) {
    let message = body;
    try { message = JSON.parse(body).error; } catch { /* not JSON */ }
    throw new Refused(response.status, message);
  }
  return visible(body, true);
}

export const query = (values) => {
  const q = new URLSearchParams(Object.entries(values).filter(([, v]) => v !== "" && v !== undefined && v !== false));
  return q.size ? "?" + q : "";
};

// maxLoad is the maximum share of the time in which ttydrain works for an open page.
const maxLoad = 0.05;

// follow calls work immediately, and then at an interval (milliseconds) until the signal, while the
// page is visible; less often if work takes long. It shows errors at the top of the page, and
// retries. It returns a function that calls work immediately.
export function follow(work, interval, signal) {
  let timer;
  const trouble = document.getElementById("trouble");
  const update = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    const begun = performance.now();
    try {
      await work();
      if (!signal.aborted) trouble.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      trouble.textContent = error instanceof Refused ? error.message : "ttydrain does not respond. Retrying…";
      trouble.hidden = false;
    }
    clearTimeout(timer);
    if (!signal.aborted) timer = setTimeout(update, Math.max(interval, (performance.now() - begun) / maxLoad));
  };
  document.addEventListener("visibilitychange", update, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  update();
  return update;
}
