import { h, sync, setText, say } from "./dom.js";
import { get, post, follow } from "./api.js";
import { badge, setBadge, localTime, span, count, plural } from "./format.js";
import { onKey } from "./keys.js";

const refresh = 3000; // milliseconds

// showDrains shows the status of each drain, with buttons for testing, pausing and resuming it.
export function showDrains(main, { signal }) {
  const summary = h("p", { class: "summary", role: "status" }, "Loading…");
  const list = h("div", { class: "drains" });
  main.append(h("h1", { tabindex: "-1" }, "Drains"), summary, list,
    h("p", { class: "hint" }, h("a", { href: "/console/help/drains#states" }, "What the states mean"), ", and ", h("a", { href: "/console/help/runbooks" }, "what to do")));
  const states = new Map();
  const update = follow(async () => {
    const drains = await get("drains", signal);
    sync(list, drains, (d) => d.name, (d) => card(d, () => update()), fill);
    const bad = drains.filter((d) => !["delivering", "paused"].includes(d.state)).length;
    setText(summary, drains.length === 0 ? "No drain is configured." : plural(drains.length, "drain") + (bad ? `, ${bad} of which ${bad === 1 ? "needs" : "need"} attention` : ""));
    for (const d of drains) {
      const before = states.get(d.name);
      if (before && before !== d.state) say(`Drain ${d.name}: ${d.state}.`);
      states.set(d.name, d.state);
    }
  }, refresh, signal);
  const press = (what) => () => document.activeElement.closest("article")?.querySelector(`button[data-does=${what}]`)?.click();
  onKey("t", press("test"), signal);
  onKey("p", press("pause"), signal);
  return "Drains";
}

const figures = ["Undelivered", "Oldest undelivered", "Records per second", "Delivered", "Dead letters"];

function card(d, update) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const showError = (error) => { problem.textContent = error?.message ?? ""; problem.hidden = !error; };
  const report = h("div", { class: "report", role: "region", "aria-label": `Test of ${d.name}`, hidden: true });
  const test = h("button", { type: "button", "data-does": "test" }, "Test");
  const pause = h("button", { type: "button", "data-does": "pause" }, "Pause");
  const title = "drain-" + d.name;
  const article = h("article", { "aria-labelledby": title, tabindex: "-1", "data-row": true },
    h("div", { class: "title" }, h("h2", { id: title }, d.name), badge(d.state), h("div", { class: "buttons" }, test, pause)),
    h("dl", { class: "figures" }, figures.map((f) => h("div", {}, h("dt", {}, f), h("dd", {}, f === "Dead letters" ? h("a", { href: "#/deadletters?drain=" + encodeURIComponent(d.name) }, "0") : "")))),
    h("p", { class: "error", hidden: true }), problem, report);
  test.addEventListener("click", async () => {
    if (test.getAttribute("aria-busy")) return;
    showError();
    test.setAttribute("aria-busy", "true");
    test.textContent = "Testing…";
    try {
      const result = await post(`drains/${encodeURIComponent(d.name)}/test`);
      report.replaceChildren(...steps(result));
      report.hidden = false;
      say(`Test of ${d.name}: ${result.ok ? "it accepted the test record" : "it failed"}.`);
    } catch (error) {
      showError(error);
    }
    test.removeAttribute("aria-busy");
    test.textContent = "Test";
    update();
  });
  pause.addEventListener("click", async () => {
    showError();
    try {
      await post(`drains/${encodeURIComponent(d.name)}/${pause.dataset.to}`);
      say(`Drain ${d.name}: ${pause.dataset.to === "pause" ? "paused" : "resumed"}.`);
    } catch (error) {
      showError(error);
    }
    update();
  });
  return article;
}

function fill(article, d) {
  setBadge(article.querySelector(".badge"), d.state);
  const values = article.querySelectorAll(".figures dd");
  setText(values[0], (d.lag_at_least ? "at least " : "") + plural(d.lag_records, "record"));
  setText(values[1], span(d.lag_seconds));
  setText(values[2], count(Math.round(d.records_per_second * 10) / 10));
  setText(values[3], count(d.delivered));
  setText(values[4].firstElementChild, count(d.dead_letters));
  values[4].firstElementChild.classList.toggle("count", d.dead_letters > 0);
  const pause = article.querySelector("[data-does=pause]");
  const stopped = d.state === "paused" || d.state === "gone";
  pause.dataset.to = stopped ? "resume" : "pause";
  setText(pause, stopped ? "Resume" : "Pause");
  const error = article.querySelector(".error");
  error.hidden = !d.last_error;
  const next = d.next_try ? `. Next attempt: ${localTime(d.next_try)}` : "";
  setText(error, d.last_error ? `${localTime(d.last_error_at)}: ${d.last_error}${next}` : "");
}

const certificate = (c) => `${c.subject}, signed by ${c.issuer}, ${c.not_before.slice(0, 10)} to ${c.not_after.slice(0, 10)}, ${plural(c.days_left, "day")} left`;

// steps shows a test like `ttydrain drains test`: each step with its findings and advice.
function steps(report) {
  const title = report.ok ? "The drain accepted the test record " : "The drain did not accept the test record ";
  return [
    h("h3", {}, title, h("span", { class: "more" }, report.operation_id ?? "")),
    h("ol", { class: "steps" }, report.steps.map((s) => h("li", {},
      h("div", {}, h("strong", {}, s.step), badge(s.result), s.peer && h("span", { class: "more" }, s.peer), s.milliseconds && h("span", { class: "more" }, s.milliseconds.toFixed(1) + " ms")),
      (s.facts ?? []).map((f) => h("p", {}, f)),
      (s.certificates ?? []).map((c) => h("p", {}, "Certificate: " + certificate(c))),
      (s.client_certificates ?? []).map((c) => h("p", {}, "Client certificate: " + certificate(c))),
      s.problem && h("p", { class: "bad" }, h("strong", {}, "Problem: "), s.problem),
      s.do && h("p", { class: "do" }, h("strong", {}, "Do: "), s.do)))),
    ...(report.notes ?? []).map((n) => h("p", { class: "hint" }, n)),
  ];
}
