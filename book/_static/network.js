// The network to explore: a box that is pointed at, tapped or reached with Tab shows its facts and what it reads lights up.
// The facts are in the picture: alexnet_lib/book/explore.py computes them.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll(".interactive.network")) {
    const panel = figure.querySelector(".facts");
    const layers = [...figure.querySelectorAll(".layer")];

    const show = (layer) => {
      const reads = layer.dataset.reads.split(" ");
      for (const each of layers) {
        each.setAttribute("aria-pressed", each == layer);
        each.classList.toggle("read", reads.includes(each.dataset.node));
      }
      for (const wire of figure.querySelectorAll(".wire")) wire.classList.toggle("lit", wire.dataset.to == layer.dataset.node);
      panel.replaceChildren(table(layer));
    };

    layers.forEach((layer, place) => {
      layer.setAttribute("role", "button");
      layer.setAttribute("tabindex", 0);
      for (const event of ["pointerenter", "focus", "click"]) layer.addEventListener(event, () => show(layer));
      layer.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (step) layers[place + step]?.focus();
        if (event.key == "Enter" || event.key == " ") show(layer);
        if (step || event.key == " ") event.preventDefault();
      });
    });
    figure.classList.add("on");
    panel.hidden = false;
    show(layers.find((layer) => layer.dataset.node == figure.dataset.first));
  }

  // A row a fact: of this box, and of both towers where there are two.
  function table(layer) {
    const made = document.createElement("table");
    const facts = JSON.parse(layer.dataset.facts);
    const beside = facts.some((fact) => fact[2]);
    made.createCaption().textContent = layer.getAttribute("aria-label");
    const head = made.createTHead().insertRow();
    for (const words of beside ? ["", "this tower", "both towers"] : []) {
      const cell = head.appendChild(document.createElement(words ? "th" : "td"));
      cell.textContent = words;
      if (words) cell.scope = "col";
    }
    const body = made.createTBody();
    for (const [what, here, both] of facts) {
      const row = body.insertRow();
      const name = row.appendChild(document.createElement("th"));
      name.scope = "row";
      name.textContent = what;
      const cell = row.insertCell();
      cell.textContent = here;
      if (both) row.insertCell().textContent = both;
      else if (beside) cell.colSpan = 2;
    }
    return made;
  }
});
