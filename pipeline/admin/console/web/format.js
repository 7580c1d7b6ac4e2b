import { h } from "./dom.js";

const twoDigits = (n) => String(n).padStart(2, "0");

// localTime formats a time as the commands do, in the local time zone: 2026-11-22 13:24:05.
export function localTime(text) {
  const t = new Date(text);
  return `${t.getFullYear()}-${twoDigits(t.getMonth() + 1)}-${twoDigits(t.getDate())} ${twoDigits(t.getHours())}:${twoDigits(t.getMinutes())}:${twoDigits(t.getSeconds())}`;
}

export const time = (text) => h("time", { datetime: text }, localTime(text));

// span formats a duration, such as 2 h 5 min.
export function span(seconds) {
  if (seconds < 1) return seconds > 0 ? "under 1 s" : "0 s";
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  return units.slice(first, first + 2).map(([name, size]) => {
    const n = Math.floor(seconds / size);
    seconds -= n * size;
    return [n, name];
  }).filter(([n], i) => n > 0 || i === 0).map(([n, name]) => `${n} ${name}`).join(" ");
}

export const since = (text, until) => span(((until ? new Date(until) : new Date()) - new Date(text)) / 1000);

const numbers = new Intl.NumberFormat("en");
export const count = (n) => numbers.format(n);
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (n < 1024 || unit === "MiB") return `${unit === "B" ? n : n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
}

// badge shows a state by its name and by a colour.
const kinds = {
  running: "good", delivering: "good", ok: "good", ended: "quiet", "not tried": "quiet",
  paused: "quiet", retrying: "warn", unattended: "warn", warning: "warn", misconfigured: "bad", rejecting: "bad", unread: "bad", gone: "bad", failed: "bad",
};

export const badge = (state) => h("span", { class: "badge " + (kinds[state] ?? "quiet") }, state);

export function setBadge(element, state) {
  if (element.textContent === state) return;
  element.className = "badge " + (kinds[state] ?? "quiet");
  element.textContent = state;
}
