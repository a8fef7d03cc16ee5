// Figure 1 to explore: a level is chosen, and where each run's curve first falls to it is marked and said.
// The curves are in the page: alexnet_lib/book/race.py draws them. The rule is time_to of alexnet_lib/evidence/verdicts.py.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll(".interactive.race")) {
    const { axes, units, races } = JSON.parse(figure.querySelector("script").textContent);
    const slider = figure.querySelector("[type=range]"), level = figure.querySelector(".level");
    const choices = [...figure.querySelectorAll("[type=radio]")];

    // Epochs until the error is `error` percent, on a straight line between points; Infinity if it never is.
    function timeTo(error, chance, points) {
      let before = chance, then = 0;
      for (const [now, there] of points) {
        if (there <= error) return there == before ? now : then + ((now - then) * (before - error)) / (before - there);
        [before, then] = [there, now];
      }
      return Infinity;
    }

    function draw() {
      const error = Number(slider.value), race = choices.find((choice) => choice.checked).value;
      for (const lines of figure.querySelectorAll("[data-race]")) lines.toggleAttribute("hidden", lines.dataset.race != race);
      const y = (1 - error / axes.most) * axes.tall;
      const line = level.querySelector("line");
      for (const end of ["y1", "y2"]) line.setAttribute(end, y);
      const times = Object.fromEntries(Object.keys(units).map((unit) => [unit, races[race]
        .filter(([arm]) => arm == unit).map(([, chance, points]) => timeTo(error, chance, points))]));
      const crossed = Object.values(times).flat().filter((time) => time <= axes.epochs);
      level.replaceChildren(line, ...crossed.map((time) => mark(axes.left + (time / axes.epochs) * axes.wide, y)));
      figure.querySelector("output").textContent = `${error} %`;
      slider.setAttribute("aria-valuetext", `${error} percent`);
      figure.querySelector(".words").textContent = said(error, times);
    }

    function said(error, times) {
      const each = Object.entries(times).map(([unit, all]) =>
        `${units[unit]} after ${all.map((t) => (t < Infinity ? t.toFixed(1) : "never")).join(", ")}`);
      const [arm, control] = ["relu", "tanh"].map((unit) => mean(times[unit].map(Math.log)));
      const ratio = Math.exp(control - arm);
      const verdict = Number.isFinite(ratio) ? `tanh takes ${ratio.toFixed(1)} times as many epochs.` : "Not every run gets there.";
      return `${error} % training error: ${each.join("; ")} epochs. ${verdict}`;
    }

    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

    function mark(x, y) {
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [name, value] of Object.entries({ cx: x, cy: y, r: 4 })) dot.setAttribute(name, value);
      return dot;
    }

    for (const control of [slider, ...choices]) control.addEventListener("input", draw);
    figure.querySelector(".controls").hidden = false;
    draw();
  }
});
