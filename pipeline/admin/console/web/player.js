// The player is a script of its own (see player/README.md), which is loaded when the first session is watched.

let loading;

function load() {
  loading ??= new Promise((resolve, reject) => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/console/player/asciinema-player.css" });
    const script = Object.assign(document.createElement("script"), { src: "/console/player/asciinema-player.min.js" });
    script.addEventListener("load", () => resolve(window.AsciinemaPlayer));
    script.addEventListener("error", () => reject(new Error("The player could not be loaded.")));
    document.head.append(style, script);
  });
  return loading;
}

const common = { fit: "width", autoPlay: true, controls: true, terminalFontFamily: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" };

// show creates a player in an element. The result can be disposed of before the player has loaded.
function show(element, source, options) {
  let player, over = false;
  load().then((library) => {
    if (!over) player = library.create(source, element, { ...common, ...options });
  }).catch((error) => { element.textContent = error.message; });
  return { dispose() { over = true; player?.dispose(); } };
}

export const replay = (element, id, options) => show(element, { url: `/api/v1/sessions/${id}/cast` }, options);
export const live = (element, id) => show(element, { driver: "eventsource", url: `/api/v1/sessions/${id}/live` }, {});
