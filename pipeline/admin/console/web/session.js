import { h, ask, say, setText } from "./dom.js";
import { get, post, text, follow } from "./api.js";
import { badge, setBadge, time, since, bytes } from "./format.js";
import { onKey } from "./keys.js";
import { replay, live } from "./player.js";

const refresh = 3000; // milliseconds
const maxAutoload = 32 << 20; // bytes; larger replays are only loaded on request

// showSession shows one session: its details, and its output from the beginning or live.
export function showSession(main, { match, signal, me }) {
  const id = match[1];
  const state = badge("");
  const summary = h("p", { class: "summary of" });
  const facts = h("dl", { class: "facts" });
  const end = h("button", { type: "button", class: "danger", hidden: true, onclick: () => kill() }, "End session…");
  const stage = h("div", { class: "stage", role: "region", "aria-label": "Session output" });
  const note = h("p", { class: "hint" });
  const speed = h("select", { id: "speed" }, ["0.5", "1", "2", "5", "10"].map((v) => h("option", { value: v, selected: v === "1" }, v + "×")));
  const skip = h("input", { type: "checkbox", checked: true });
  const watch = h("button", { type: "button", hidden: true, onclick: () => play("live") }, "Watch live");
  const replayButton = h("button", { type: "button", hidden: true, onclick: () => play("replay") }, "Replay");
  const controls = h("div", { class: "controls", hidden: true }, watch, replayButton,
    h("label", {}, "Speed ", speed), h("label", {}, skip, " Skip pauses over 2 s"),
    h("a", { href: `/api/v1/sessions/${id}/cast`, download: `session-${id}.cast` }, "Download asciicast"));
  const transcript = h("details", { class: "text", hidden: true }, h("summary", {}, "As text"), h("pre", { class: "content", tabindex: "0", "aria-label": "Text of the session" }));
  main.append(
    h("p", {}, h("a", { href: "#/sessions" }, "← Sessions")),
    h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Session " + id), state, end),
    summary,
    h("div", { class: "session" },
      h("div", {}, controls, stage, note, transcript),
      h("aside", { "aria-labelledby": "facts-title" }, h("h2", { id: "facts-title" }, "Details"), facts)));

  let session, mode, player;
  const stop = () => { player?.dispose(); player = undefined; };
  signal.addEventListener("abort", stop);

  function play(how) {
    if (!session || session.phi && !me.phi) return;
    mode = how;
    stop();
    stage.replaceChildren();
    replayButton.textContent = how === "replay" ? "From the beginning" : "Replay";
    for (const [button, on] of [[watch, how === "live"], [replayButton, how === "replay"]]) button.setAttribute("aria-pressed", on);
    speed.disabled = skip.disabled = how === "live";
    if (how === "live") {
      setText(note, "Live: earlier output is shown at once.");
      player = live(stage, id);
    } else {
      setText(note, session.state === "ended" ? "" : "Output up to now: the session is running.");
      player = replay(stage, id, { speed: Number(speed.value), idleTimeLimit: skip.checked ? 2 : undefined });
    }
  }
  speed.addEventListener("change", () => mode === "replay" && play("replay"));
  skip.addEventListener("change", () => mode === "replay" && play("replay"));
  onKey("w", () => watch.hidden || play("live"), signal);
  onKey("r", () => play("replay"), signal);
  onKey("x", () => end.hidden || kill(), signal);
  transcript.addEventListener("toggle", async () => {
    if (!transcript.open) return;
    const pre = transcript.querySelector("pre");
    pre.textContent = "Loading…";
    try {
      pre.textContent = await text(`sessions/${id}/text`, signal) || "The session has no output.";
    } catch (error) {
      pre.textContent = error.message;
    }
  });

  async function kill() {
    if (await confirmKill(session)) update();
  }

  const update = follow(async () => {
    const now = await get("sessions/" + id, signal);
    const first = !session, endedNow = session && session.state !== "ended" && now.state === "ended";
    session = now;
    setBadge(state, now.state);
    setText(summary, `${now.user.name} on ${now.app}, ${now.state === "ended" ? "" : "for "}${since(now.started, now.ended)}` + (now.reason ? `, ended: ${now.reason}` : ""));
    fill(facts, now);
    end.hidden = watch.hidden = now.state === "ended";
    replayButton.hidden = false;
    if (endedNow) {
      say(`Session ${id} has ended: ${now.reason}.`);
      if (mode === "live") setText(note, "The session has ended: " + now.reason + ".");
    }
    if (!first) return;
    if (now.phi && !me.phi) {
      stage.replaceChildren(h("p", { class: "notice" }, "This session may hold protected health information, which this console does not show. ",
        "To allow it, set ", h("code", {}, "admin: {console: {show_phi: true}}"), "."));
      return;
    }
    controls.hidden = transcript.hidden = false;
    if (now.state !== "ended") play("live");
    else if (now.bytes < maxAutoload) play("replay");
    else stage.replaceChildren(h("p", { class: "notice" }, `The replay loads all of the session’s output into this page: ${bytes(now.bytes)}. `, h("button", { type: "button", onclick: () => play("replay") }, "Load")));
  }, refresh, signal);
  return "Session " + id;
}

function fill(dl, s) {
  const lines = [
    ["User", s.user.name], ["E-mail", s.user.email], ["User ID", s.user.id], ["App", s.app], ["Stack", s.stack + (s.phi ? " (PHI)" : "")],
    ["Started", time(s.started)], s.state === "ended" ? ["Ended", time(s.ended)] : ["Expires", time(s.expires)],
    ["Duration", since(s.started, s.ended)], ["Output", bytes(s.bytes)], ["Command", s.command], ["Terminal", s.interactive ? "yes" : "no"],
    ["End reason", s.reason], ["Ended by", s.ended_by], ["Operator’s reason", s.ended_because], ["Exit status", s.exit_status],
    ["Address", s.origin_address], ["Client", s.origin_client], ["Login", s.origin_method], ["Key", s.origin_key],
    ["Certificate serial", s.origin_serial], ["Certificate CA", s.origin_ca],
    ["Gateway", s.gateway], ["Container", s.container],
  ].filter(([, value]) => value !== undefined && value !== "");
  const made = JSON.stringify(lines.map(([name, value]) => [name, value.textContent ?? value]));
  if (dl.dataset.made === made) return;
  dl.dataset.made = made;
  dl.replaceChildren(...lines.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value instanceof Node ? value : String(value)))));
}

// confirmKill asks for confirmation and a reason, and ends a session.
async function confirmKill(s) {
  const reason = h("input", { id: "reason", maxlength: "300", autocomplete: "off", "aria-describedby": "reason-who" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const confirm = h("button", { class: "danger", value: "end" }, "End session");
  const dialog = h("dialog", { "aria-labelledby": "kill-title" },
    h("h2", { id: "kill-title" }, `End session ${s.operation_id}?`),
    h("p", {}, `Session of ${s.user.name} on ${s.app}, started `, time(s.started), ". All of its processes end with it."),
    h("form", { method: "dialog" },
      h("label", { for: "reason" }, "Reason"), reason,
      h("p", { class: "hint", id: "reason-who" }, `The reason and your name are shown to ${s.user.name} and recorded.`), problem,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"), confirm)));
  dialog.querySelector("form").addEventListener("submit", async (e) => {
    e.preventDefault();
    confirm.disabled = true;
    confirm.textContent = "Ending…";
    try {
      const [result] = await post("sessions/kill", { operations: [s.operation_id], reason: reason.value });
      say(`Session ${s.operation_id}: ${result.result}.`);
      if (result.result === "unconfirmed") throw new Error(`The gateway ${result.gateway} has not confirmed the end: the session ends as soon as that gateway responds.`);
      dialog.close("end");
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      confirm.disabled = false;
      confirm.textContent = "End session";
    }
  });
  const answer = ask(dialog);
  reason.focus();
  return (await answer) === "end";
}
