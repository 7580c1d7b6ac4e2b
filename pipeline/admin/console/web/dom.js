// Pages are made of elements and text nodes: external data is never parsed as HTML.

// h creates an element. A property that begins with "on" is a listener; true and false add or omit
// an attribute.
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

// setText changes a text only if it differs, which preserves the user's selection.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// sync updates the children of an element to those of a list, in its order. It keeps and updates
// children whose keys are in the list, so that they keep the focus.
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

// say announces a text to users of screen readers.
export function say(text) {
  document.getElementById("said").textContent = text;
}

// ask shows a dialog until it is closed, and returns the value that it was closed with: "" if it was
// cancelled.
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
