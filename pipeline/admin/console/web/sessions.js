import { h, sync, setText, say } from "./dom.js";
import { get, follow, query } from "./api.js";
import { badge, setBadge, localTime, since, bytes, plural } from "./format.js";

const pageSize = 50;
const refresh = 3000; // milliseconds

const columns = ["Session", "State", "User", "App", "Started", "Duration", "Output", "End"];

// showSessions lists running or all sessions that match the search. The address holds the filters.
export function showSessions(main, { query: asked, signal }) {
  const text = asked.get("q") ?? "", all = asked.get("all") === "1", before = asked.get("before") ?? "";
  const go = (change) => {
    const to = query({ q: text, all: all ? "1" : "", before, ...change });
    if (location.hash.slice(1) !== "/sessions" + to) location.hash = "/sessions" + to;
  };
  const search = h("input", { type: "search", id: "search", value: text, autocomplete: "off", spellcheck: "false", "aria-describedby": "search-what" });
  const option = (value, label, on) => h("label", {}, h("input", { type: "radio", name: "which", checked: on, onchange: () => go({ all: value, before: "" }) }), label);
  const summary = h("p", { class: "summary", role: "status" }, "Loading…");
  const body = h("tbody", { role: "rowgroup" });
  const table = h("table", { class: "cards", role: "table" },
    h("caption", { class: "unseen" }, "Sessions, newest first"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((c) => h("th", { scope: "col", role: "columnheader" }, c)))), body);
  const older = h("button", { type: "button", hidden: true }, "Older");
  main.append(
    h("h1", { tabindex: "-1" }, "Sessions"),
    h("form", { class: "search", role: "search", onsubmit: (e) => { e.preventDefault(); go({ q: search.value.trim(), before: "" }); } },
      h("div", {}, h("label", { for: "search" }, "Search"), search,
        h("p", { class: "hint", id: "search-what" }, "Words in the user, app, stack, ID, command, gateway or end reason")),
      h("button", { class: "primary" }, "Search"),
      h("fieldset", {}, h("legend", { class: "unseen" }, "State"), option("", "Running", !all), option("1", "Running and ended", all))),
    summary, table,
    h("p", { class: "pages" }, before && h("button", { type: "button", onclick: () => go({ before: "" }) }, "Newest"), older));

  let last = "";
  older.addEventListener("click", () => go({ before: last }));
  let announced;
  follow(async () => {
    const list = await get("sessions" + query({ text, before, all: all && "true", limit: pageSize + 1 }), signal);
    const more = list.length > pageSize;
    const shown = list.slice(0, pageSize);
    if (shown.length > 0) last = shown[shown.length - 1].operation_id;
    sync(body, shown, (s) => s.operation_id, row, fill);
    table.hidden = shown.length === 0;
    older.hidden = !more;
    let message = plural(shown.length, "session") + (more ? " on this page" : "") + (all ? "" : " running");
    if (shown.length === 0) message = text ? "No session matches the search." : all ? "There are no sessions." : "No sessions are running.";
    setText(summary, message);
    // Announce new sessions to screen readers.
    const now = new Map(shown.map((s) => [s.operation_id, s.state]));
    if (announced && !all && !before) {
      const started = shown.filter((s) => !announced.has(s.operation_id)).map((s) => `Session ${s.operation_id} of ${s.user.name} has started.`);
      if (started.length > 0) say(started.join(" "));
    }
    announced = now;
  }, refresh, signal);
  return "Sessions";
}

function row(s) {
  const cell = (i, ...content) => h("td", { role: "cell", "data-label": columns[i] }, ...content);
  return h("tr", { role: "row" },
    h("th", { scope: "row", role: "rowheader", "data-label": "Session" }, h("a", { href: "#/sessions/" + s.operation_id, "data-row": true }, s.operation_id)),
    cell(1, badge(s.state)),
    cell(2, h("span", { class: "name" }, s.user.name), h("span", { class: "more" }, s.user.email)),
    cell(3, h("span", { class: "name" }, s.app, s.phi && h("span", { class: "badge warn", title: "may hold protected health information" }, "PHI")), h("span", { class: "more" }, s.stack)),
    cell(4, h("time", { datetime: s.started }, localTime(s.started))),
    cell(5, ""), cell(6, ""), cell(7, ""));
}

function fill(tr, s) {
  const cells = tr.children;
  setBadge(cells[1].firstElementChild, s.state);
  setText(cells[5], since(s.started, s.ended));
  setText(cells[6], bytes(s.bytes));
  setText(cells[7], s.state === "ended" ? s.reason + (s.ended_by ? " by " + s.ended_by : "") : "");
}
