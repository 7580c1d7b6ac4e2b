// The page of a login link. The token is in the fragment, which the browser has not sent. It is
// removed from the address bar and the history, and sent when the user presses the button, so that
// programs that open links do not use it up.

const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const form = document.querySelector("form");
form.elements.token.value = token;
form.hidden = token === "";
document.getElementById("problem").hidden = token !== "";
if (token !== "") form.querySelector("button").focus();

// A link that is opened while this page is shown changes the fragment only.
addEventListener("hashchange", () => location.reload());
