// The browser of kernels: a run, a time, two towers; the kernel that is pointed at or reached with the arrows is enlarged.
// Pictures and selectivities are in the page: alexnet_lib/book/kernel_browser.py computes them.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll(".interactive.kernels")) {
    const runs = JSON.parse(figure.querySelector("script").textContent);
    const [choice, time, sorted] = ["select", "[type=range]", "[type=checkbox]"].map((name) => figure.querySelector(name));
    const towers = figure.querySelector(".towers"), large = figure.querySelector(".chosen canvas");
    let options, chosen; // a canvas a kernel, tower after tower, and the one that is enlarged

    const run = () => runs[choice.value];
    const now = () => run().moments[time.value];
    const named = (option) =>
      `${option.dataset.tower}, kernel ${Number(option.dataset.place) + 1}: colour selectivity ${now().selectivity[option.dataset.kernel]}`;

    // uint8 (kernels, side, side, 3) in base64 onto a canvas of as many pixels, opaque.
    function draw(canvas, kernel) {
      const side = run().side, from = kernel * side * side * 3;
      const bytes = Uint8Array.from(atob(now().pixels), (letter) => letter.charCodeAt(0)).subarray(from, from + side * side * 3);
      canvas.width = canvas.height = side;
      const image = new ImageData(side, side);
      image.data.forEach((_, i, data) => (data[i] = i % 4 == 3 ? 255 : bytes[Math.floor(i / 4) * 3 + (i % 4)]));
      canvas.getContext("2d").putImageData(image, 0, 0);
    }

    function enlarge(option) {
      chosen = option;
      for (const each of options) each.setAttribute("aria-selected", each == chosen);
      for (const each of chosen.parentNode.children) each.tabIndex = each == chosen ? 0 : -1;
      draw(large, chosen.dataset.kernel);
      large.ariaLabel = `${named(chosen)}, enlarged`;
      large.nextElementSibling.textContent = named(chosen);
    }

    // Another time: the same kernels in their places, drawn and named anew.
    function paint() {
      time.setAttribute("aria-valuetext", now().when);
      figure.querySelector("output").textContent = now().when;
      for (const option of options) {
        draw(option, option.dataset.kernel);
        option.ariaLabel = named(option);
      }
      [...towers.children].forEach((group, tower) => {
        const box = group.querySelector("[role=listbox]");
        group.querySelector("p").textContent = `${box.ariaLabel}: mean colour selectivity ${now().means[tower]}`;
      });
      enlarge(chosen);
    }

    // Another run or order: kernels are sorted by what they became, so that each keeps its place over time.
    function arrange() {
      const before = chosen?.dataset.kernel;
      towers.replaceChildren(...run().order.map((ranked, tower) => {
        const name = run().order.length > 1 ? `tower ${tower + 1}` : "one tower";
        const places = sorted.checked ? ranked : ranked.map((_, place) => place);
        const group = document.createElement("div"), box = document.createElement("div");
        box.setAttribute("role", "listbox");
        box.ariaLabel = name;
        box.append(...places.map((place) => {
          const option = document.createElement("canvas");
          option.setAttribute("role", "option");
          Object.assign(option.dataset, { tower: name, place, kernel: tower * ranked.length + place });
          option.tabIndex = -1;
          for (const event of ["pointerenter", "focus", "click"]) option.addEventListener(event, () => enlarge(option));
          return option;
        }));
        box.firstChild.tabIndex = 0;
        box.addEventListener("keydown", move);
        group.append(document.createElement("p"), box);
        return group;
      }));
      options = [...towers.querySelectorAll("canvas")];
      chosen = options.find((option) => option.dataset.kernel == before) || options[0];
      paint();
    }

    function move(event) {
      const all = [...event.currentTarget.children], place = all.indexOf(event.target);
      const columns = all.filter((each) => each.offsetTop == all[0].offsetTop).length;
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
      const to = { Home: 0, End: all.length - 1 }[event.key] ?? place + steps[event.key];
      if (Number.isNaN(to)) return;
      event.preventDefault();
      all[to]?.focus();
    }

    choice.addEventListener("change", pick);
    time.addEventListener("input", paint);
    sorted.addEventListener("change", arrange);
    function pick() {
      time.max = run().moments.length - 1;
      time.disabled = run().moments.length < 2;
      time.value = time.max;
      chosen = null;
      figure.querySelector(".about").textContent = run().about;
      arrange();
    }
    figure.classList.add("on");
    figure.querySelector(".live").hidden = false;
    pick();
  }
});
