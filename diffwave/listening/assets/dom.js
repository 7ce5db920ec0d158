"use strict";
// Building the page. Names come from users: they go in as text, never as HTML.

const TRACKS = ["Original", ...DATA.systems]; // track 0 of every utterance is the reference

function hasAudio(utterance, track) {
  return DATA.utterances[utterance].gains[track] !== null;
}

// h("td.number", { title: "..." }, child, [more], null): the attributes may be left out.
function h(tag, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  element.classList.add(...classes);
  const attributes = children[0]?.constructor === Object ? children.shift() : {};
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

function card(title, ...children) {
  return h("section.card", h("h2", title), ...children);
}

function button(label, onclick, attributes) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

function icon(name) {
  const paths = {
    play: "M7 4.5v15l12.5-7.5z",
    pause: "M6 5h4v14H6zM14 5h4v14h-4z",
    previous: "M15.5 4.5 8 12l7.5 7.5 1.4-1.4L10.8 12l6.1-6.1z",
    next: "M8.5 4.5 16 12l-7.5 7.5-1.4-1.4 6.1-6.1-6.1-6.1z",
  };
  const span = h("span.icon", { "aria-hidden": "true" });
  span.innerHTML = `<svg viewBox="0 0 24 24"><path d="${paths[name]}"/></svg>`;
  return span;
}

// A menu of texts, which gives the place of the one that is chosen.
function menu(texts, chosen, onchange, attributes) {
  const onselect = (event) => onchange(Number(event.target.value));
  return h("select", { ...attributes, onchange: onselect },
    texts.map((text, i) => h("option", { value: i, selected: i === chosen }, text)));
}

function field(label, input) {
  return h("label.field", h("span", label), input);
}

function choice(label, texts, chosen, onchange) {
  return field(label, menu(texts, chosen, onchange, { "data-focus": label }));
}

function checkbox(label, checked, onchange, hint) {
  const input = h("input", { type: "checkbox", checked, onchange: () => onchange(input.checked) });
  return h("label.check", { title: hint }, input, label);
}

function keys(...pairs) {
  return h("p.keys", pairs.map(([names, what]) =>
    h("span", names.split(" ").map((name) => h("kbd", name)), ` ${what}`)));
}

// A caption of the table's own would be as wide as the table, and scroll with it.
function scrollingTable(caption, heads, body, kind = "table") {
  const table = h(kind, heads.length ? h("thead", h("tr", heads)) : null, body);
  const region = { tabindex: "0", role: "region", "aria-label": caption };
  return h("div.titled", h("p.caption", caption), h("div.scroll", region, table));
}

// Decimals that suit the largest of the values in a column; null is "not defined".
function formatter(values) {
  const largest = Math.max(0, ...values.map(Math.abs)); // of null: 0
  const decimals = largest < 1 ? 3 : largest < 10 ? 2 : largest < 100 ? 1 : 0;
  return (value) => {
    if (value == null) return "–";
    const text = value.toFixed(decimals);
    return text.replace("-", Number(text) === 0 ? "" : "−");
  };
}

function seconds(value) {
  const minutes = Math.floor(value / 60);
  return `${minutes}:${(value - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

// Reproducible random numbers in [0, 1): FNV-1a of the words seeds mulberry32.
function randomNumbers(...words) {
  let state = 2166136261;
  for (const character of words.join(" ")) {
    state = Math.imul(state ^ character.codePointAt(0), 16777619);
  }
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(items, random) {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

function saveFile(name, text, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
