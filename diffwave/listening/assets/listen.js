"use strict";
// The open view: hear and see every version of a sentence.

const listen = { sentence: 0, slot: 0, difference: false };

function ticks(end, most) {
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find(
    (size) => end / size <= most,
  );
  const count = Math.floor(end / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toFixed(2)));
}

// Pictures of all versions on top of each other, one visible; axes, playhead and legend.
function plot(sentence) {
  const { seconds: duration, khz } = DATA.sentences[sentence];
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
    if (DATA.sentences[sentence].gains[track] === null) return;
    for (const kind of track ? ["", "-difference"] : [""]) {
      const image = h("img", {
        src: `pictures/${sentence}-${track}${kind}.png`,
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
  const sentence = DATA.sentences[listen.sentence];
  const available = (track) => sentence.gains[track] !== null;
  if (!available(listen.slot)) listen.slot = 0;
  const picture = plot(listen.sentence);

  const go = (step) => {
    const count = DATA.sentences.length;
    listen.sentence = (listen.sentence + step + count) % count;
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
  const rows = TRACKS.map((name, track) => {
    const choose = button(
      [h("kbd", {}, track < 9 ? String(track + 1) : "·"), h("span", {}, name)],
      () => player.choose(track),
      { class: "version", disabled: !available(track), "data-focus": `version ${track}` },
    );
    const cells = DATA.metrics.map((_, metric) => {
      const format = formatter(DATA.values.map((system) => system[metric][listen.sentence]));
      const value = track ? DATA.values[track - 1][metric][listen.sentence] : null;
      return h("td", { class: "number" }, track && available(track) ? format(value) : "");
    });
    if (!available(track)) {
      cells.splice(0, cells.length, h("td", { colspan: cells.length || 1 }, "no audio"));
    }
    return h("tr", {}, h("th", { scope: "row" }, choose), cells);
  });

  function update() {
    if (player.ready) listen.slot = player.slot;
    picture.show(listen.slot, listen.difference);
    rows.forEach((row, track) => {
      row.classList.toggle("chosen", track === listen.slot);
      row.querySelector("button").setAttribute("aria-pressed", String(track === listen.slot));
    });
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
        { class: "sentence" },
        button(icon("previous"), () => go(-1), {
          "aria-label": "Previous sentence",
          "data-focus": "previous",
        }),
        h(
          "select",
          {
            "aria-label": "Sentence",
            "data-focus": "sentence",
            onchange: (event) => {
              listen.sentence = Number(event.target.value);
              showView();
            },
          },
          DATA.sentences.map(({ name }, i) =>
            h("option", { value: i, selected: i === listen.sentence }, name),
          ),
        ),
        button(icon("next"), () => go(1), {
          "aria-label": "Next sentence",
          "data-focus": "next",
        }),
        h("span", { class: "muted" }, `${listen.sentence + 1} of ${DATA.sentences.length}`),
      ),
      h("div", { class: "segments", role: "group", "aria-label": "Picture" }, modes),
    ),
    picture.element,
    transport({
      onchange: update,
      ontime: picture.showTime,
      options: [
        checkbox(
          "Same level",
          player.matched,
          (value) => player.setMatched(value),
          "Play every version at the original's RMS",
        ),
      ],
    }),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Versions" },
      h(
        "table",
        { class: "versions" },
        h(
          "thead",
          {},
          h("tr", {}, h("th", { scope: "col" }, "Version"), DATA.metrics.map(metricHeader)),
        ),
        h("tbody", {}, rows),
      ),
    ),
    keys(
      [`1 – ${Math.min(9, TRACKS.length)}`.replaceAll(" ", ""), "version"],
      ["Space", "play, pause"],
      ["← →", "sentence"],
      ["D", "difference"],
    ),
  );
  const key = (name) => {
    if (/^[1-9]$/.test(name)) player.choose(Number(name) - 1);
    else if (name === "ArrowLeft") go(-1);
    else if (name === "ArrowRight") go(1);
    else if (name.toLowerCase() === "d") setDifference(!listen.difference);
    else return false;
    return true;
  };
  const start = () => player.load(listen.sentence, [...TRACKS.keys()], listen.slot);
  return { element: [element], key, start };
}
