// Building the page. Names of files go in as text, never as HTML.

export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

export function button(label, onclick, attributes) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

export function icon(name) {
  const paths = { play: "M7 4.5v15l12.5-7.5z", pause: "M6 5h4v14H6zM14 5h4v14h-4z" };
  const span = h("span", { class: "icon", "aria-hidden": "true" });
  span.innerHTML = `<svg viewBox="0 0 24 24"><path d="${paths[name]}"/></svg>`;
  return span;
}

export function seconds(value) {
  const minutes = Math.floor(value / 60);
  return `${minutes}:${(value - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

export function save(name, bytes, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob([bytes], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
