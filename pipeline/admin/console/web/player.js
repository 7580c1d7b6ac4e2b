// The player is a separate script (see player/README.md), which is loaded with the first session.

let loading;

function load() {
  loading ??= new Promise((resolve, reject) => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/console/player/asciinema-player.css" });
    const script = Object.assign(document.createElement("script"), { src: "/console/player/asciinema-player.min.js" });
    script.addEventListener("load", () => resolve(window.AsciinemaPlayer));
    script.addEventListener("error", () => reject(new Error("Cannot load the player.")));
    document.head.append(style, script);
  });
  return loading;
}

const common = { fit: "width", autoPlay: true, controls: true, terminalFontFamily: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" };

// show creates a player in an element. The result can be disposed of before the player is loaded.
function show(element, source, options) {
  let player, disposed = false;
  load().then((library) => {
    if (!disposed) player = library.create(source, element, { ...common, ...options });
  }).catch((error) => { element.textContent = error.message; });
  return { dispose() { disposed = true; player?.dispose(); } };
}

export const replay = (element, id, options) => show(element, { url: `/api/v1/sessions/${id}/cast` }, options);
export const live = (element, id) => show(element, { driver: "eventsource", url: `/api/v1/sessions/${id}/live` }, {});
