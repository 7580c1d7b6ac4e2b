import { h } from "./dom.js";
import { listen, help } from "./keys.js";
import { showSessions } from "./sessions.js";
import { showSession } from "./session.js";
import { showDrains } from "./drains.js";
import { showDeadLetters } from "./deadletters.js";

// A view is shown at a path below "#/". It gets the main element, what the path has, its query, a signal that ends
// with it, and who uses the console. It gives its title.
const views = [
  [/^\/sessions\/([0-9]+)$/, showSession],
  [/^\/sessions$/, showSessions],
  [/^\/drains$/, showDrains],
  [/^\/deadletters$/, showDeadLetters],
];

let shown; // ends the current view
let first = true;

function route(me) {
  const [path, query] = location.hash.slice(1).split("?");
  const found = views.map(([pattern, view]) => [path.match(pattern), view]).find(([match]) => match);
  if (!found) {
    if (path === "main") return; // the link "Skip to the content"
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
  // Announce the new page to screen readers, except for the first, which they read completely.
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
  document.getElementById("who").append(h("span", { class: "unseen" }, "Logged in as "), me.name);
  document.getElementById("logout").hidden = !me.logout;
  document.getElementById("help").addEventListener("click", help);
  listen();
  window.addEventListener("hashchange", () => route(me));
  route(me);
}

start();
