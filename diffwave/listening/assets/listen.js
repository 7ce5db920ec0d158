"use strict";
// The open view: hear and see every version of an utterance.

const listen = { utterance: 0, slot: 0, difference: false };

// Marks from 0 to `end`, no more than `most` + 1; the property of the style says where.
function ticks(end, most, property) {
  const sizes = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
  const step = sizes.find((size) => end / size <= most);
  return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => {
    const value = Number((i * step).toFixed(2));
    return h("span", { style: `${property}:${(100 * value) / end}%` }, String(value));
  });
}

// Pictures of all versions on top of each other, one visible; axes, playhead and legend.
function plot(utterance) {
  const { seconds: duration, khz } = DATA.utterances[utterance];
  const { low, high, difference: range, colours, differenceColours } = DATA.scale;
  const images = {};
  const hidden = { "aria-hidden": "true" };
  const tag = h("span.tag", hidden);
  const playhead = h("div.playhead");
  const xAxis = h("div.x-axis", hidden);
  const legend = h("div.legend");
  const seek = (event) => {
    const box = stack.getBoundingClientRect();
    player.seek(((event.clientX - box.left) / box.width) * duration);
  };
  const stack = h("div.picture", { onclick: seek }, tag, playhead);

  // Every picture at once, so that flipping does not wait for the disk.
  TRACKS.forEach((name, track) => {
    if (!hasAudio(utterance, track)) return;
    for (const kind of track ? ["", "-difference"] : [""]) {
      const image = h("img", {
        src: `pictures/${utterance}-${track}${kind}.png`,
        draggable: "false",
        alt: `Spectrogram of ${name}${kind ? " minus that of the original" : ""}`,
      });
      images[`${track}${kind}`] = image;
      stack.prepend(image);
    }
  });

  const show = (track, difference) => {
    const signed = difference && track > 0;
    const visible = `${track}${signed ? "-difference" : ""}`;
    for (const [key, image] of Object.entries(images)) image.hidden = key !== visible;
    tag.textContent = signed ? `${TRACKS[track]} − original`
      : difference ? "Original: differences are from this" : TRACKS[track];
    const ends = signed ? [`${-range} dB, too quiet`, `+${range} dB, too loud`]
      : [`${low} dB`, `${high} dB`];
    const [left, right] = ends.map((text) => h("span", text.replace("-", "−")));
    const gradient = (signed ? differenceColours : colours).join(",");
    legend.replaceChildren(
      left, h("i", { style: `background:linear-gradient(90deg,${gradient})` }), right);
  };
  new ResizeObserver(() => {
    const most = Math.max(2, Math.floor(stack.clientWidth / 60));
    xAxis.replaceChildren(...ticks(duration, most, "left"));
  }).observe(stack);
  const element = h("figure.plot",
    h("span.unit", "kHz"),
    h("div.y-axis", hidden, ticks(khz, 6, "bottom")),
    stack,
    xAxis,
    h("figcaption", h("span", "seconds"), legend));
  const showTime = () => {
    playhead.style.left = `${(100 * player.time) / duration}%`;
  };
  return { element, show, showTime };
}

function listenView() {
  const utterance = DATA.utterances[listen.utterance];
  const available = (track) => hasAudio(listen.utterance, track);
  if (!available(listen.slot)) listen.slot = 0;
  const picture = plot(listen.utterance);
  const count = DATA.utterances.length;

  const show = (place) => {
    listen.utterance = (place + count) % count;
    showView();
  };
  const setDifference = (value) => {
    listen.difference = value;
    update();
  };
  const modes = [false, true].map((value) =>
    button(value ? "Difference" : "Spectrogram", () => setDifference(value)));
  const versions = TRACKS.map((name, track) =>
    button(
      [h("kbd", track < 9 ? String(track + 1) : "·"), h("span", name),
        available(track) ? null : h("small", "no audio")],
      () => player.choose(track),
      { class: "version", disabled: !available(track), "data-focus": `version ${track}` },
    ));
  const table = metricTable("Scores of this utterance", (metric, i) => {
    const values = DATA.values.map((system) => system[i][listen.utterance]);
    const format = formatter(values);
    return values.map((value) => h("td.number", format(value)));
  });

  function update() {
    if (player.ready) listen.slot = player.slot;
    picture.show(listen.slot, listen.difference);
    press(versions, listen.slot);
    press(modes, Number(listen.difference));
    for (const row of table.querySelectorAll("tr")) {
      [...row.cells].forEach((cell, i) => cell.classList.toggle("chosen", i > 0 && i === listen.slot));
    }
  }

  const step = (name, by) =>
    button(icon(name.toLowerCase()), () => show(listen.utterance + by),
      { "aria-label": `${name} utterance`, "data-focus": name });
  const names = DATA.utterances.map(({ name }) => name);
  const chooser = menu(names, listen.utterance, show,
    { "aria-label": "Utterance", "data-focus": "utterance" });
  const group = (label) => ({ role: "group", "aria-label": label });
  const element = h("section.card",
    h("div.bar",
      h("div.utterance", step("Previous", -1), chooser, step("Next", 1),
        h("span.muted", `${listen.utterance + 1} of ${count}`)),
      h("div.segments", group("Picture"), modes)),
    utterance.text ? h("p.transcript", utterance.text) : null,
    h("div.versions", group("Versions"), versions),
    picture.element,
    transport({ onchange: update, ontime: picture.showTime, options: [levelSwitch()] }),
    keys([`1–${Math.min(9, TRACKS.length)}`, "version"], ["Space", "play, pause"],
      ["← →", "utterance"], ["D", "difference"]),
    DATA.metrics.length ? table : null);
  const key = (name) => {
    if (/^[1-9]$/.test(name)) player.choose(Number(name) - 1);
    else if (name === "ArrowLeft") show(listen.utterance - 1);
    else if (name === "ArrowRight") show(listen.utterance + 1);
    else if (name.toLowerCase() === "d") setDifference(!listen.difference);
    else return false;
    return true;
  };
  const start = () => player.load(listen.utterance, [...TRACKS.keys()], listen.slot);
  return { elements: [element], key, start };
}
