// What the pages do beyond the theme: pictures that enlarge, tables that a keyboard can scroll, a search that works from disk.

// A comma or a full stop stays on the line of the formula before it.
function keepTogether(formula) {
  const text = formula.nextSibling, mark = text?.nodeType == Node.TEXT_NODE && text.data.match(/^[.,;:!?)\u3001\u3002\uff0c\uff1b\uff1a\uff09]+/);
  if (!mark) return;
  text.splitText(mark[0].length);
  const whole = Object.assign(document.createElement("span"), { className: "unbroken" });
  formula.before(whole);
  whole.append(formula, text);
}

// Paper has no knob: there the first, the shown, a middle and the last picture of a slider stand, each with its value.
function layOut(slider) {
  const pictures = [...slider.querySelectorAll("img")], last = pictures.length - 1;
  const shown = pictures.findIndex((picture) => picture.style.display != "none");
  const places = [...new Set([0, shown, Math.round((shown + last) / 2), last])].sort((a, b) => a - b);
  const frames = Object.assign(document.createElement("div"), { className: "slider-frames" });
  for (const place of places) {
    const frame = frames.appendChild(document.createElement("figure")), picture = frame.appendChild(pictures[place].cloneNode());
    picture.removeAttribute("style");
    frame.append(Object.assign(document.createElement("figcaption"), { textContent: picture.alt.split("; ").pop() }));
  }
  pictures[shown].decode().then(() => { // all of them have one size
    frames.classList.toggle("wide", pictures[shown].naturalWidth > 700);
    frames.classList.toggle("tall", pictures[shown].naturalHeight > pictures[shown].naturalWidth);
  }, () => {});
  slider.after(frames);
}

// A picture becomes a button that opens it as large as it is, in a dialog that scrolls; Escape or a tap closes it.
function enlarge(pictures) {
  const dialog = document.querySelector("dialog.enlarged") || document.body.appendChild(document.createElement("dialog"));
  dialog.className = "enlarged";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "enlarge";
  button.title = "Enlarge";
  pictures[0].before(button);
  button.append(...pictures);
  button.onclick = () => {
    const shown = [...pictures].find((picture) => picture.style.display != "none").cloneNode();
    shown.removeAttribute("style");
    shown.style.width = `max(${shown.naturalWidth || 1}px, 56rem)`;
    const close = Object.assign(document.createElement("button"), { type: "button", className: "close", textContent: "Close" });
    dialog.replaceChildren(close, shown);
    dialog.ariaLabel = shown.alt;
    dialog.showModal();
  };
  dialog.onclick = () => dialog.close();
}

// The theme's names for its buttons and folds lack words that are seen on them, by which a voice would call them.
document.addEventListener("DOMContentLoaded", () => {
  for (const each of document.querySelectorAll(".search-button-field, summary")) each.removeAttribute("aria-label");
  for (const each of document.querySelectorAll(".theme-switch-button")) each.ariaLabel = "Colours: light, dark or system settings";
});

// Chinese names of pages in the navigation and in the index are said to be Chinese, as the pages themselves are.
document.addEventListener("DOMContentLoaded", () => {
  for (const each of document.querySelectorAll("nav a, .caption-text, .prev-next-area p, .indextable a, .indextable li, .genindex-jumpbox a")) {
    if (/^[\s\d.]*\p{Script=Han}/u.test(each.textContent)) each.lang = "zh";
  }
});

document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector(".bd-article");
  if (!article) return;
  const alone = article.querySelectorAll(".cell_output img, figure img");
  for (const picture of alone) {
    if (!picture.closest("a, button, .slider, .interactive")) enlarge([picture]);
  }
  for (const slider of article.querySelectorAll(".slider")) {
    layOut(slider);
    enlarge(slider.querySelectorAll("img"));
  }
  for (const formula of article.querySelectorAll("span.math")) keepTogether(formula);
  for (const printed of article.querySelectorAll(".output.stream")) {
    printed.classList.toggle("short", printed.textContent.split("\n").length < 25); // stays whole on paper (print.css)
  }
  // CHAPTER.html?handout is printed without the solutions.
  document.documentElement.classList.toggle("handout", new URLSearchParams(location.search).has("handout"));

  // A table of words, wider than a narrow screen: each row becomes a card, whose lines name their columns (book.css).
  const tables = [...article.querySelectorAll("table.table")].filter((table) =>
    table.tHead && [...table.tBodies].some((body) => [...body.querySelectorAll("td")].some((td) => td.textContent.length > 30)));
  for (const table of tables) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    for (const td of table.querySelectorAll("tbody td")) td.dataset.label = names[td.cellIndex];
  }
  const fit = () => {
    for (const table of tables) {
      table.classList.remove("cards");
      const cut = table.scrollWidth > table.parentElement.clientWidth + 1;
      table.classList.toggle("cards", cut && matchMedia("(max-width: 576px)").matches);
    }
  };

  // What can be scrolled must be reached by keyboard. The theme sees to code and tables of its own, not to these.
  const scrollable = article.querySelectorAll(".cell_output table, .cell_output pre, .math, mjx-container, .scrolls, .pst-scrollable-table-container");
  const look = () => {
    fit();
    scrollable.forEach((each) => {
      if (each.scrollWidth > each.clientWidth + 1) each.tabIndex = 0;
    });
  };
  const ready = window.MathJax?.startup?.promise || Promise.resolve();
  ready.then(look);
  window.addEventListener("load", look);
  window.addEventListener("resize", look);
});

// From disk a browser lets no page read another, so the search shows titles and headings without extracts, and says so.
if (location.protocol == "file:" && typeof DOCUMENTATION_OPTIONS == "object") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  document.addEventListener("DOMContentLoaded", () => {
    const results = document.querySelector("#search-results");
    if (!results) return;
    const note = document.createElement("p");
    note.className = "search-note";
    note.textContent =
      "Opened from disk, the search finds pages, headings, words of the glossary and names of the library that hold all " +
      "the words given; served by a web server it shows an extract of each page too.";
    results.before(note);
  });
}
