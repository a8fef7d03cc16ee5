// The cost model to explore: a card, a number of cards and a batch choose a prediction, whose parts are drawn as bars.
// All predictions are in the page: tools/cost_explorer.py computes them.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll(".interactive.cost")) {
    const { schemes, counts, batches, images, steps, bars } = JSON.parse(figure.querySelector("script").textContent);
    const card = figure.querySelector("select");
    const [count, batch] = figure.querySelectorAll("[type=range]");
    const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
    const figures = (value) => number(Number(value.toPrecision(3)), 6);

    function draw() {
      const n = counts[count.value], size = batches[batch.value];
      for (const [slider, value] of [[count, n], [batch, size]]) {
        slider.setAttribute("aria-valuetext", number(value));
        slider.nextElementSibling.textContent = number(value);
      }
      const all = steps[card.value][count.value][batch.value];
      const sums = all.map((parts) => (parts ?? []).reduce((sum, part) => sum + part, 0));
      const longest = Math.max(...sums);
      schemes.forEach((scheme, row) => {
        let x = bars.left;
        figure.querySelectorAll(`rect.${scheme}`).forEach((rect, part) => {
          const long = longest && all[row] ? (bars.long * all[row][part]) / longest : 0;
          rect.setAttribute("x", x);
          rect.setAttribute("width", long);
          x += long;
        });
        const end = figure.querySelector(`.end.${scheme} text`);
        end.setAttribute("x", x + 6);
        const missing = size < n ? "more cards than images" : "needs pairs of cards";
        end.textContent = sums[row] ? `${figures(sums[row])} ms` : missing;
        const rate = (1000 * size) / sums[row];
        const cells = sums[row] ? [figures(sums[row]), number(rate), figures(images / rate / 3600)] : ["–", "–", "–"];
        const shown = figure.querySelectorAll("tbody tr")[row].querySelectorAll("td");
        shown.forEach((cell, place) => (cell.textContent = cells[place]));
      });
      figure.querySelector(".words").textContent = said(n, size, sums);
    }

    function said(n, size, sums) {
      const there = schemes.filter((_, row) => sums[row]);
      const best = there.sort((a, b) => sums[schemes.indexOf(a)] - sums[schemes.indexOf(b)])[0];
      const shares = `${number(n)} ${card.value}, a batch of ${number(size)} in all`;
      return best ? `${shares}: ${best} is fastest.` : `${shares}: more cards than images.`;
    }

    for (const control of [card, count, batch]) control.addEventListener("input", draw);
    figure.querySelector(".controls").hidden = false;
    draw();
  }
});
