"use strict";
// Which view is shown, and where the keys go.

const VIEWS = { listen: listenView, scores: scoresView, abx: abxView, rating: ratingView };
let view; // its elements, what a key does (true: it was one of its own), and how it starts

// The old view leaves the document altogether: a blind one must not share it with the names.
function showView() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "listen";
  const focused = document.activeElement?.dataset.focus;
  player.listener = () => {};
  view = { key: () => false, start: () => player.stop(), ...VIEWS[name]() };
  document.title = view.heading ?? DATA.title;
  document.querySelector("h1").textContent = document.title;
  document.getElementById("view").replaceChildren(...view.elements);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (focused) document.querySelector(`[data-focus="${focused}"]`)?.focus();
  view.start();
}

addEventListener("hashchange", () => {
  player.stop();
  showView();
});

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches("select, input[type=text]")) return; // theirs
  if (key === " ") {
    if (target.matches("button, summary, input[type=checkbox]")) return;
    event.preventDefault();
    if (!event.repeat) player.toggle();
  } else if (target.matches("input[type=range]") && key.startsWith("Arrow")) {
    return;
  } else if (!event.repeat && view.key(key)) {
    event.preventDefault();
  }
});

// A button clicked by mouse or finger gives the focus back, so that Space plays and pauses again;
// one reached by keyboard keeps it.
document.addEventListener("click", (event) => {
  if (event.detail > 0) event.target.closest?.("button")?.blur();
});

showView();
