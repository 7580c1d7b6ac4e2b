// Pages are built from elements and texts: external data is never parsed as HTML.

// h creates an element. Properties that begin with "on" are listeners; true and false set and remove attributes.
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((c) => c !== undefined && c !== null && c !== false));
  return element;
}

// setText sets a text only if it differs, which preserves the selection.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// sync makes the children of an element those of a list, in its order. A child whose key is there already stays, with its
// focus, and is updated.
export function sync(parent, list, keyOf, make, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let at = parent.firstElementChild;
  for (const item of list) {
    const key = String(keyOf(item));
    let child = before.get(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    before.delete(key);
    update(child, item);
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  for (const child of before.values()) child.remove();
}

// say announces a text to screen readers.
export function say(text) {
  document.getElementById("said").textContent = text;
}

// ask shows a dialog until it is closed, and gives what it was closed with: "" where nothing was agreed to.
export function ask(dialog) {
  const back = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (back && back.isConnected) back.focus();
      resolve(dialog.returnValue);
    }, { once: true });
  });
}
