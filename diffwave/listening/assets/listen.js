"use strict";
// The open view: hear and see every version of an utterance.

const listen = { utterance: 0, slot: 0, difference: false };

function ticks(end, most) {
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find(
    (size) => end / size <= most,
  );
  const count = Math.floor(end / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toFixed(2)));
}

// Pictures of all versions on top of each other, one visible; axes, playhead and legend.
function plot(utterance) {
  const { seconds: duration, khz } = DATA.utterances[utterance];
  const images = {};
  const stack = h("div", {
    class: "picture",
    onclick: (event) => {
      const box = stack.getBoundingClientRect();
      player.seek(((event.clientX - box.left) / box.width) * duration);
    },
  });
  const tag = h("span", { class: "tag", "aria-hidden": "true" });
  const playhead = h("div", { class: "playhead" });
  const xAxis = h("div", { class: "x-axis", "aria-hidden": "true" });
  const yAxis = h(
    "div",
    { class: "y-axis", "aria-hidden": "true" },
    ticks(khz, 6).map((value) =>
      h("span", { style: `bottom:${(100 * value) / khz}%` }, String(value)),
    ),
  );
  const legend = h("div", { class: "legend" });
  stack.append(tag, playhead);

  // Every picture at once, so that flipping does not wait for the disk.
  TRACKS.forEach((name, track) => {
    if (DATA.utterances[utterance].gains[track] === null) return;
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
    const visible = `${track}${difference && track ? "-difference" : ""}`;
    for (const [key, image] of Object.entries(images)) image.hidden = key !== visible;
    tag.textContent = difference
      ? track
        ? `${TRACKS[track]} − original`
        : "Original: differences are from this"
      : TRACKS[track];
    const { low, high, difference: range, colours, differenceColours } = DATA.scale;
    const signed = difference && track;
    const [left, right] = signed
      ? [`${-range} dB, too quiet`.replace("-", "−"), `+${range} dB, too loud`]
      : [`${low} dB`.replace("-", "−"), `${high} dB`.replace("-", "−")];
    const gradient = (signed ? differenceColours : colours).join(",");
    legend.replaceChildren(
      h("span", {}, left),
      h("i", { style: `background:linear-gradient(90deg,${gradient})` }),
      h("span", {}, right),
    );
  };
  const layOut = () => {
    const most = Math.max(2, Math.floor(stack.clientWidth / 60));
    xAxis.replaceChildren(
      ...ticks(duration, most).map((value) =>
        h("span", { style: `left:${(100 * value) / duration}%` }, String(value)),
      ),
    );
  };
  new ResizeObserver(layOut).observe(stack);
  const element = h(
    "figure",
    { class: "plot" },
    h("span", { class: "unit" }, "kHz"),
    yAxis,
    stack,
    xAxis,
    h("figcaption", {}, h("span", {}, "seconds"), legend),
  );
  const showTime = () => {
    playhead.style.left = `${(100 * player.time) / duration}%`;
  };
  return { element, show, showTime };
}

function listenView() {
  const utterance = DATA.utterances[listen.utterance];
  const available = (track) => utterance.gains[track] !== null;
  if (!available(listen.slot)) listen.slot = 0;
  const picture = plot(listen.utterance);

  const go = (step) => {
    const count = DATA.utterances.length;
    listen.utterance = (listen.utterance + step + count) % count;
    showView();
  };
  const setDifference = (value) => {
    listen.difference = value;
    update();
  };
  const modes = [
    button("Spectrogram", () => setDifference(false)),
    button("Difference", () => setDifference(true)),
  ];
  const versions = TRACKS.map((name, track) =>
    button(
      [
        h("kbd", {}, track < 9 ? String(track + 1) : "·"),
        h("span", {}, name),
        available(track) ? null : h("small", {}, "no audio"),
      ],
      () => player.choose(track),
      { class: "version", disabled: !available(track), "data-focus": `version ${track}` },
    ),
  );
  const heads = DATA.systems.map((name) => h("th", { scope: "col", class: "number" }, name));
  const table = metricTable("Scores of this utterance", heads, (metric, i) => {
    const values = DATA.values.map((system) => system[i][listen.utterance]);
    const format = formatter(values);
    return values.map((value) => h("td", { class: "number" }, format(value)));
  });

  function update() {
    if (player.ready) listen.slot = player.slot;
    picture.show(listen.slot, listen.difference);
    versions.forEach((version, track) =>
      version.setAttribute("aria-pressed", String(track === listen.slot)),
    );
    for (const row of table.querySelectorAll("tr")) {
      [...row.cells].forEach((cell, i) => cell.classList.toggle("chosen", i > 0 && i === listen.slot));
    }
    modes.forEach((mode, i) =>
      mode.setAttribute("aria-pressed", String(Boolean(i) === listen.difference)),
    );
  }

  const element = h(
    "section",
    { class: "card" },
    h(
      "div",
      { class: "bar" },
      h(
        "div",
        { class: "utterance" },
        button(icon("previous"), () => go(-1), {
          "aria-label": "Previous utterance",
          "data-focus": "previous",
        }),
        h(
          "select",
          {
            "aria-label": "Utterance",
            "data-focus": "utterance",
            onchange: (event) => {
              listen.utterance = Number(event.target.value);
              showView();
            },
          },
          DATA.utterances.map(({ name }, i) =>
            h("option", { value: i, selected: i === listen.utterance }, name),
          ),
        ),
        button(icon("next"), () => go(1), {
          "aria-label": "Next utterance",
          "data-focus": "next",
        }),
        h("span", { class: "muted" }, `${listen.utterance + 1} of ${DATA.utterances.length}`),
      ),
      h("div", { class: "segments", role: "group", "aria-label": "Picture" }, modes),
    ),
    utterance.text ? h("p", { class: "transcript" }, utterance.text) : null,
    h("div", { class: "versions", role: "group", "aria-label": "Versions" }, versions),
    picture.element,
    transport({ onchange: update, ontime: picture.showTime, options: [levelSwitch()] }),
    keys(
      [`1 – ${Math.min(9, TRACKS.length)}`.replaceAll(" ", ""), "version"],
      ["Space", "play, pause"],
      ["← →", "utterance"],
      ["D", "difference"],
    ),
    DATA.metrics.length ? table : null,
  );
  const key = (name) => {
    if (/^[1-9]$/.test(name)) player.choose(Number(name) - 1);
    else if (name === "ArrowLeft") go(-1);
    else if (name === "ArrowRight") go(1);
    else if (name.toLowerCase() === "d") setDifference(!listen.difference);
    else return false;
    return true;
  };
  const start = () => player.load(listen.utterance, [...TRACKS.keys()], listen.slot);
  return { element: [element], key, start };
}
