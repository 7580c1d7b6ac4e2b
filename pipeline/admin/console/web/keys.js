import { h, ask } from "./dom.js";

// Keys for the whole console. Views add their own with onKey.
const general = [
  ["g s", "Sessions"], ["g d", "Drains"], ["g l", "Dead letters"], ["g h", "Help"],
  ["/", "Search"], ["j", "Next in the list"], ["k", "Previous in the list"], ["?", "Keyboard shortcuts"],
];
const own = [
  ["w", "Watch a session live"], ["r", "Replay a session from the beginning"], ["x", "End a session"],
  ["t", "Test the focused drain"], ["p", "Pause or resume the focused drain"],
];
const player = [
  ["Space", "Play or pause"], ["← →", "Back or forward five seconds"], ["0 … 9", "Go to 0 % … 90 %"], [", .", "One frame back or forward while paused"], ["f", "Full screen"],
];

const setting = "ttydrain-console-keys";
let views = new Map();

// onKey binds a key to a function until the signal.
export function onKey(key, work, signal) {
  views.set(key, work);
  signal.addEventListener("abort", () => { if (views.get(key) === work) views.delete(key); });
}

const off = () => localStorage.getItem(setting) === "off";

export function help() {
  const rows = (list) => h("dl", { class: "keys" }, list.map(([key, what]) => h("div", {}, h("dt", {}, key.split(" ").map((k) => h("kbd", {}, k))), h("dd", {}, what))));
  const use = h("input", { type: "checkbox", checked: !off(), onchange: (e) => localStorage.setItem(setting, e.target.checked ? "on" : "off") });
  return ask(h("dialog", { "aria-labelledby": "keys-title" },
    h("h2", { id: "keys-title" }, "Keyboard shortcuts"),
    rows(general), h("h3", {}, "On a page"), rows(own), h("h3", {}, "In the focused player"), rows(player),
    h("p", {}, h("label", {}, use, " Enable these keys (those of the player always work)")),
    h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close"))));
}

// move focuses the next or the previous item in the list of the view.
function move(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (rows.length === 0) return;
  const at = rows.findIndex((row) => row === document.activeElement || row.contains(document.activeElement));
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  const row = rows[next];
  row.focus();
  row.scrollIntoView({ block: "nearest" });
}

export function listen() {
  let prefixed = 0; // when g was pressed
  document.addEventListener("keydown", (e) => {
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
    if (e.target.closest("input, textarea, select, .ap-wrapper") && !(e.target.type === "checkbox" || e.target.type === "radio")) return;
    if (off() && e.key !== "?") return;
    const second = Date.now() - prefixed < 1500;
    prefixed = 0;
    const page = second && { s: "#/sessions", d: "#/drains", l: "#/deadletters" }[e.key];
    if (page) location.hash = page;
    else if (second && e.key === "h") location.assign("/console/help/");
    else if (e.key === "g") prefixed = Date.now();
    else if (e.key === "/") document.querySelector("input[type=search]")?.focus();
    else if (e.key === "j") move(1);
    else if (e.key === "k") move(-1);
    else if (e.key === "?") help();
    else if (views.has(e.key)) views.get(e.key)();
    else return;
    e.preventDefault();
  });
}
