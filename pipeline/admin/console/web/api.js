// The admin API, which commands use as well: see `ttydrain sessions` and `ttydrain drains`.

const base = "/api/v1/";

// Refused is an error response of the API.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// visible writes hidden characters as their numbers: controls, those that change the direction of others, and those of no
// width. A name with one of them could look like another name. Joiners stay where a text is no name.
const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const joiner = /[\u200c\u200d\p{Variation_Selector}]/u;
const visible = (text, joiners = false) => text.replace(hidden, (c) =>
  c === "\n" || c === "\t" || joiners && joiner.test(c) ? c : `\\u{${c.codePointAt(0).toString(16)}}`);

async function answer(method, path, body, signal) {
  const response = await fetch(base + path, {
    method, signal, body: body === undefined ? undefined : JSON.stringify(body),
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
  });
  if (response.status === 401) {
    location.assign("/console/login");
    await new Promise(() => {}); // the page is left
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

export const get = (path, signal) => answer("GET", path, undefined, signal);
export const post = (path, body = {}) => answer("POST", path, body);
export const remove = (path) => answer("DELETE", path);

// text gets a response that is not JSON.
export async function text(path, signal) {
  const response = await fetch(base + path, { signal });
  const body = await response.text();
  if (!response.ok) {
    let message = body;
    try { message = JSON.parse(body).error; } catch { /* as it is */ }
    throw new Refused(response.status, message);
  }
  return visible(body, true);
}

export const query = (values) => {
  const q = new URLSearchParams(Object.entries(values).filter(([, v]) => v !== "" && v !== undefined && v !== false));
  return q.size ? "?" + q : "";
};

// share is the maximum fraction of time for which an open page keeps ttydrain busy.
const share = 0.05;

// follow calls work at once and every so many milliseconds until the signal, while somebody sees the page; less often where it
// takes long. What goes wrong is told at the top of the page, and is tried again.
export function follow(work, every, signal) {
  let timer;
  const trouble = document.getElementById("trouble");
  const turn = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    const begun = performance.now();
    try {
      await work();
      if (!signal.aborted) trouble.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      trouble.textContent = error instanceof Refused ? error.message : "ttydrain does not answer: this is tried again.";
      trouble.hidden = false;
    }
    clearTimeout(timer);
    if (!signal.aborted) timer = setTimeout(turn, Math.max(every, (performance.now() - begun) / share));
  };
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
  return turn;
}
