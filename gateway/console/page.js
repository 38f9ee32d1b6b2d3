// Pieces of the page, made without markup: text is only ever text.

export const byId = (id) => document.getElementById(id);

/** An element of this class, with children: elements or strings. */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function drawing(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Only what changed is written, so that nothing is drawn or read out for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function mark(element, className, isOn) {
  if (element.classList.contains(className) !== isOn) element.classList.toggle(className, isOn);
}

export function describe(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A bar as wide as `share` of 1 says; what it means stands beside it in words. */
export function setBar(fill, share) {
  const width = `${(Math.min(1, Math.max(0, share)) * 100).toFixed(1)}%`;
  if (fill.style.width !== width) fill.style.width = width;
}

/** Makes `parent` hold exactly these children in this order and moves as little as it can: a focused one stays so. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  const focused = document.activeElement;
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}
