import { h, ask, say, setText } from "./dom.js";
import { get, post, remove, query, follow } from "./api.js";
import { localTime, plural, time } from "./format.js";

const maxLetters = 1000; // the maximum in a list of the API
const columns = ["Number", "Time", "Drain", "Session", "Record", "Reason", "Do"];

// showDeadLetters lists the records that drains have rejected. It reloads after each change.
export function showDeadLetters(main, { query: asked, signal }) {
  const drain = asked.get("drain") ?? "";
  const summary = h("p", { class: "summary", role: "status" }, "Loading…");
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const choice = h("select", { id: "drain", onchange: (e) => { location.hash = "/deadletters" + query({ drain: e.target.value }); } }, h("option", { value: "" }, "All drains"));
  const body = h("tbody", { role: "rowgroup" });
  const table = h("table", { class: "cards", role: "table", hidden: true },
    h("caption", { class: "unseen" }, "Dead letters, oldest first"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((c) => h("th", { scope: "col", role: "columnheader" }, c)))), body);
  main.append(h("h1", { tabindex: "-1" }, "Dead letters"),
    h("p", { class: "hint" }, "Records that a drain has rejected permanently. Its other records were delivered. ", h("a", { href: "/console/help/runbooks#ttydraindeadletters" }, "What to do")),
    h("p", {}, h("label", { for: "drain" }, "Drain "), choice), summary, problem, table);

  const act = async (words, work) => {
    problem.hidden = true;
    try {
      await work();
      say(words);
      main.querySelector("h1").focus();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
    await load();
  };

  function row(l) {
    const cell = (i, ...content) => h("td", { role: "cell", "data-label": columns[i], class: columns[i] === "Reason" && "long" }, ...content);
    return h("tr", { role: "row" },
      h("th", { scope: "row", role: "rowheader", "data-label": "Number" }, String(l.number)),
      cell(1, time(l.time)), cell(2, l.drain), cell(3, h("a", { href: "#/sessions/" + l.operation_id }, l.operation_id)), cell(4, String(l.sequence)),
      cell(5, (l.status ? l.status + " " : "") + l.reason),
      cell(6, h("div", { class: "buttons" },
        h("button", { type: "button", "data-row": true, "aria-label": `Show ${l.number}`, onclick: () => show(l) }, "Show"),
        h("button", { type: "button", "aria-label": `Redeliver ${l.number}`, onclick: () => act(`Dead letter ${l.number} was delivered.`, () => post(`deadletters/${l.number}/redeliver`)) }, "Redeliver"),
        h("button", { type: "button", class: "danger", "aria-label": `Discard ${l.number}`, onclick: () => discard(l) }, "Discard…"))));
  }

  async function show(l) {
    problem.hidden = true;
    try {
      const { record } = await get(`deadletters/${l.number}`, signal);
      await ask(h("dialog", { class: "wide", "aria-labelledby": "letter-title" },
        h("h2", { id: "letter-title" }, `Dead letter ${l.number}`),
        h("p", {}, `Response of the drain ${l.drain} at ${localTime(l.time)}: ${l.status || ""} ${l.reason}`),
        h("pre", { class: "content", tabindex: "0", "aria-label": "Record" }, JSON.stringify(record, null, 2)),
        h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close"))));
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  async function discard(l) {
    const answer = await ask(h("dialog", { "aria-labelledby": "discard-title" },
      h("h2", { id: "discard-title" }, `Discard dead letter ${l.number}?`),
      h("p", {}, `The drain ${l.drain} will never receive record ${l.sequence} of session ${l.operation_id}.`),
      h("form", { method: "dialog", class: "buttons" }, h("button", { value: "" }, "Cancel"), h("button", { class: "danger", value: "yes" }, "Discard"))));
    if (answer === "yes") await act(`Dead letter ${l.number} was discarded.`, () => remove(`deadletters/${l.number}`));
  }

  async function load() {
    const letters = await get("deadletters" + query({ drain }), signal);
    setText(summary, letters.length === 0 ? "There are no dead letters." : plural(letters.length, "dead letter") + (letters.length === maxLetters ? " (the oldest; there are more)" : ""));
    table.hidden = letters.length === 0;
    body.replaceChildren(...letters.map(row));
  }

  get("drains", signal).then((drains) => {
    for (const d of drains) choice.append(h("option", { value: d.name, selected: d.name === drain }, d.name));
  }).catch(() => {}); // the list shows the error
  let read = false;
  follow(async () => { if (!read) { await load(); read = true; } }, 5000, signal);
  return "Dead letters";
}
