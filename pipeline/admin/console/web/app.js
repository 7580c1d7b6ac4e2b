import { h } from "./dom.js";
import { listen, help } from "./keys.js";
import { showSessions } from "./sessions.js";
import { showSession } from "./session.js";
import { showDrains } from "./drains.js";
import { showDeadLetters } from "./deadletters.js";

// A view shows the page of a path below "#/". It receives the main element, the match of the path,
// the query, a signal that aborts when another view replaces it, and the console's user. It returns
// the page title.
const views = [
  [/^\/sessions\/([0-9]+)$/, showSession],
  [/^\/sessions$/, showSessions],
  [/^\/drains$/, showDrains],
  [/^\/deadletters$/, showDeadLetters],
];

let shown; // aborts the current view
let first = true;

function route(me) {
  const [path, query] = location.hash.slice(1).split("?");
  const found = views.map(([pattern, view]) => [path.match(pattern), view]).find(([match]) => match);
  if (!found) {
    if (path === "main") return; // the link that skips to the content
    location.replace("#/sessions");
    return;
  }
  const [match, view] = found;
  shown?.abort();
  shown = new AbortController();
  const main = document.getElementById("main");
  main.replaceChildren();
  document.getElementById("trouble").hidden = true;
  for (const link of document.querySelectorAll("nav a")) {
    const here = path.startsWith(link.getAttribute("href").slice(1));
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = view(main, { match, query: new URLSearchParams(query), signal: shown.signal, me });
  document.title = title + " – ttydrain";
  // The focus makes screen readers announce the new page. They read the first page in any case.
  if (!first) main.querySelector("h1")?.focus();
  first = false;
}

async function start() {
  const response = await fetch("/console/me");
  if (!response.ok) {
    location.assign("/console/login");
    return;
  }
  const me = await response.json();
  document.getElementById("who").append(h("span", { class: "unseen" }, "Logged in as "), me.name, me.role === "admin" ? "" : ` (${me.role})`);
  document.body.classList.toggle("may-not-operate", !me.operate);
  document.body.classList.toggle("may-not-read", !me.read);
  document.getElementById("logout").hidden = !me.logout;
  document.getElementById("help").addEventListener("click", help);
  listen();
  window.addEventListener("hashchange", () => route(me));
  route(me);
}

start();
