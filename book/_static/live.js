// The page "The network, live": a picture goes in, the guess and the maps of both towers are shown. live_forward.js computes.
"use strict";

(() => {
  const at = (id) => document.getElementById(`live-${id}`);
  if (!at("top") || typeof LIVE_NET == "undefined") return; // without the network's script the page says what there would be
  const net = LiveForward.unpack(LIVE_NET);
  const { towers, norm } = net.model;
  const WORDS = { activation: "ReLU", norm: "normalised", pool: "pooled" };
  const CARD = [251, 250, 247]; // zero, and what is largest: the colours of the book's figures
  const INK = [20, 33, 61];
  const LINE = "#dedbd3"; // between maps
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`; // the space does not break
  const largest = ({ data }) => data.reduce((most, value) => Math.max(most, value), 0);

  // What is shown: the picture with its name, its label where it is a patch, and what the network makes of it.
  const shown = { pixels: null, label: null, whole: null, seen: null };

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  // ---- pictures ----

  // A small canvas from 4 bytes a pixel.
  function picture(width, height, colour) {
    const canvas = make("canvas", { width, height });
    const image = new ImageData(width, height);
    for (let i = 0; i < width * height; i++) image.data.set([...colour(i), 255], 4 * i);
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  const photograph = (pixels) => picture(net.size, net.size, (i) => pixels.subarray(3 * i, 3 * i + 3));

  function paintPixels(canvas, pixels, side) {
    canvas.width = canvas.height = side;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(photograph(pixels), 0, 0, side, side);
    return pen;
  }

  // Maps beside each other, so many in a row; zero is the card, `most` or more is ink.
  function paintMaps(canvas, maps, first, count, columns, most, width = 640) {
    const { side, data } = maps;
    const strip = picture(side, side * count, (i) => {
      const share = Math.min(1, data[first * side * side + i] / (most || 1));
      return CARD.map((card, channel) => card + share * (INK[channel] - card));
    });
    const cell = side * Math.max(1, Math.round(width / columns / side));
    const gap = 4;
    canvas.width = columns * (cell + gap) - gap;
    canvas.height = Math.ceil(count / columns) * (cell + gap) - gap;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = LINE;
    for (let i = 0; i < count; i++) {
      const [x, y] = [i % columns, Math.floor(i / columns)].map((place) => place * (cell + gap));
      pen.fillRect(x - gap, y - gap, cell + gap, cell + gap); // the lines before it and above it
      pen.drawImage(strip, 0, i * side, side, side, x, y, cell, cell);
    }
  }

  // ---- the guess ----

  const bars = net.classes.map((name) => {
    const bar = { share: make("span"), mark: make("i"), fill: make("b") };
    const track = make("span", { className: "live-track", ariaHidden: "true" }, bar.fill, bar.mark);
    at("bars").append(make("li", {}, make("span", {}, name), bar.share, track));
    return bar;
  });

  const best = ({ probabilities }) => {
    const share = Math.max(...probabilities);
    return { name: net.classes[probabilities.indexOf(share)], share };
  };

  function showGuess() {
    const guess = best(shown.seen);
    const isPatch = shown.label !== null;
    const truth = isPatch ? net.classes[shown.label] : "";
    const told = isPatch ? `The patch is from ${truth}: ${guess.name == truth ? "right" : "wrong"}.` : "It has no other names than these ten.";
    const before = best(shown.whole);
    const both = off.some(Boolean) ? ` Both towers together say ${before.name}, ${percent(before.share)}.` : "";
    at("guess").replaceChildren("It says ", make("strong", {}, guess.name), `, ${percent(guess.share)}. ${told}${both}`);
    bars.forEach(({ share, mark, fill }, i) => {
      share.textContent = percent(shown.seen.probabilities[i]);
      fill.style.width = `${100 * shown.seen.probabilities[i]}%`;
      mark.style.left = `${100 * shown.whole.probabilities[i]}%`;
      mark.hidden = !both;
    });
    at("key").hidden = !both;
  }

  // ---- one map, before and after ----

  for (const [layer, part] of Object.entries(net.model)) {
    if (part?.then?.includes("norm")) at("layer").append(make("option", { value: layer }, layer));
  }
  const places = ["its window", "before", "normalised", "pooled"].map((words) => {
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    const caption = make("figcaption", {}, words);
    at("row").append(make("figure", {}, canvas, caption));
    return { canvas, caption };
  });

  // The map from which normalisation takes most: with it the page begins.
  function mostNormalised([before, after]) {
    const taken = Array(before.count).fill(0);
    before.data.forEach((value, i) => (taken[Math.floor(i / before.side ** 2)] += value - after.data[i]));
    return taken.indexOf(Math.max(...taken));
  }

  function showMap() {
    const layer = at("layer").value;
    const of = (result, step) => result.stages.find((stage) => stage.layer == layer && stage.step == step).maps;
    const [before, after, pooled] = ["activation", "norm", "pool"].map((step) => of(shown.seen, step));
    at("map").max = before.count;
    if (!at("which").value) at("map").value = 1 + mostNormalised([before, after]);
    const map = at("map").valueAsNumber - 1;
    const each = before.count / towers;
    const tower = Math.floor(map / each) + 1;
    const [first, last] = LiveForward.windowOf(map, (norm.size - 1) / 2, norm.stays_in_tower ? each : before.count);
    at("which").value = `${map + 1} of ${before.count}, tower ${tower}`;
    at("map").setAttribute("aria-valuetext", at("which").value);
    const alone = (maps) => ({ ...maps, count: 1, data: maps.data.slice(map * maps.side ** 2, (map + 1) * maps.side ** 2) });
    const [old, divided, kept] = [before, after, pooled].map(alone);
    const most = largest({ data: of(shown.whole, "activation").data.slice(first * before.side ** 2, (last + 1) * before.side ** 2) });
    const between = `maps ${first + 1} to ${last + 1}`;
    paintMaps(places[0].canvas, before, first, last - first + 1, 3, most, 280);
    paintMaps(places[1].canvas, old, 0, 1, 1, most, 280);
    paintMaps(places[2].canvas, divided, 0, 1, 1, most, 280);
    paintMaps(places[3].canvas, kept, 0, 1, 1, most, 280);
    places[0].caption.textContent = `its window, ${between}`;
    const sizes = [before, before, after, pooled].map(({ side }) => `${side} by ${side}`);
    places.forEach(({ canvas, caption }, i) => canvas.setAttribute("aria-label", `Map ${map + 1} of ${layer}, ${caption.textContent}; ${sizes[i]}`));
    const [high, low] = [largest(old), largest(divided)].map((value) => value.toFixed(2));
    const where = last - first + 1 < norm.size ? ", as far as its tower goes" : "";
    at("said").textContent =
      `The window of map ${map + 1} is ${between}${where}. Its largest value is ${high} before and ${low} after. ` +
      `Pooling leaves ${sizes[3]} of ${sizes[2]} places.`;
  }

  // ---- all maps ----

  let rows = null;

  function showLayers() {
    rows ??= shown.seen.stages.map(({ layer, step, maps }) => {
      const canvases = off.map((_, tower) => {
        const canvas = make("canvas");
        canvas.setAttribute("role", "img");
        const name = make("span");
        return { canvas, name, tower };
      });
      const blocks = canvases.map(({ canvas, name }) => make("div", {}, name, canvas));
      const title = `${layer}, ${WORDS[step]}: ${maps.count} maps of ${maps.side} × ${maps.side}`;
      at("layers").append(make("figure", {}, make("figcaption", {}, title), make("div", { className: "live-pair" }, ...blocks)));
      return canvases;
    });
    shown.seen.stages.forEach(({ layer, step, maps }, i) => {
      const most = largest(shown.whole.stages[i].maps);
      const count = maps.count / towers;
      for (const { canvas, name, tower } of rows[i]) {
        paintMaps(canvas, maps, tower * count, count, count > 32 ? 16 : 8, most);
        const part = maps.data.subarray((tower * maps.data.length) / towers, ((tower + 1) * maps.data.length) / towers);
        const zeros = percent(part.filter((value) => value == 0).length / part.length);
        name.textContent = `tower ${tower + 1}${off[tower] ? ", off" : ""}: largest ${largest({ data: part }).toFixed(2)}, ${zeros} zeros`;
        canvas.setAttribute("aria-label", `${count} maps of ${layer}, ${WORDS[step]}, ${name.textContent}`);
      }
    });
  }

  // ---- what the reader does ----

  const off = Array(towers).fill(false);

  // The switches stand where they are wanted, more than once, and move together.
  for (const group of document.querySelectorAll(".live-towers")) {
    off.forEach((_, tower) => {
      const box = make("input", { type: "checkbox", checked: true, className: `live-tower-${tower}` });
      box.onchange = () => {
        off[tower] = !box.checked;
        for (const each of document.querySelectorAll(`.${box.className}`)) each.checked = box.checked;
        update();
      };
      group.append(make("label", {}, box, ` tower ${tower + 1} on`));
    });
  }

  function update() {
    shown.seen = off.some(Boolean) ? LiveForward.run(net, shown.pixels, off) : shown.whole;
    showGuess();
    showMap();
    showLayers();
  }

  function show(pixels, label, name) {
    Object.assign(shown, { pixels, label, whole: LiveForward.run(net, pixels) });
    const side = 8 * net.size;
    const pen = paintPixels(at("picture"), pixels, side);
    const edge = (8 * (net.size - net.model.image_size)) / 2;
    pen.strokeStyle = "white";
    pen.lineWidth = 2;
    pen.strokeRect(edge, edge, side - 2 * edge, side - 2 * edge);
    at("picture").setAttribute("aria-label", `${name}; the network sees what is inside the frame`);
    at("error").textContent = "";
    update();
  }

  // The central square of a picture, scaled to a patch; white shows through what is transparent.
  function shrink(image) {
    const side = Math.min(image.width, image.height);
    const canvas = make("canvas", { width: net.size, height: net.size });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, net.size, net.size);
    pen.imageSmoothingQuality = "high";
    const [left, top] = [image.width, image.height].map((length) => Math.floor((length - side) / 2));
    pen.drawImage(image, left, top, side, side, 0, 0, net.size, net.size);
    return pen.getImageData(0, 0, net.size, net.size).data.filter((_, i) => i % 4 < 3);
  }

  async function choose(file) {
    if (!file) return;
    try {
      const image = await createImageBitmap(file);
      for (const patch of at("patches").querySelectorAll("input")) patch.checked = false;
      show(shrink(image), null, "Your picture");
    } catch {
      at("error").textContent = `${file.name} is no picture that this browser can read.`;
    }
  }

  net.patches.forEach(({ pixels, label }, i) => {
    const radio = make("input", { type: "radio", name: "live-patch", value: i, checked: i == 0 });
    const words = `Patch ${i + 1}, from ${net.classes[label]}`;
    radio.setAttribute("aria-label", words);
    radio.onchange = () => show(pixels, label, words);
    at("patches").append(make("label", { title: net.classes[label] }, radio, photograph(pixels)));
  });
  at("file").onchange = (event) => choose(event.target.files[0]);
  at("drop").ondragover = (event) => event.preventDefault();
  at("drop").ondrop = (event) => {
    event.preventDefault();
    choose(event.dataTransfer.files[0]);
  };
  at("layer").onchange = at("map").oninput = showMap;
  at("without").hidden = true;
  for (const part of ["top", "one", "layers"]) at(part).hidden = false;
  at("patches").querySelector("input").onchange();
})();
