"use strict";
const scores = JSON.parse(document.getElementById("scores").textContent);

function cellValue(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim().toLowerCase();
}

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells], head = heads[column];
  const up = head.getAttribute("aria-sort") !== "ascending";
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0], rows = [...body.rows].map((row) => [cellValue(row, column), row]);
  rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1));
  body.append(...rows.map(([, row]) => row));
}

// Paired differences of the same students, with a percentile bootstrap of 2,000 resamples from a generator that begins anew.
function paired(first, second) {
  const n = Math.min(first.length, second.length); // persons teach the first few
  const difference = first.slice(0, n).map((score, i) => score - second[i]);
  let state = 12345;
  const draw = () => ((state = (1103515245 * state + 12345) % 2147483648), Math.floor((state / 2147483648) * n));
  const means = Array.from({ length: 2000 }, () => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += difference[draw()];
    return sum / n;
  }).sort((a, b) => a - b);
  return { mean: difference.reduce((a, b) => a + b, 0) / n, low: means[49], high: means[1950] };
}

for (const section of document.querySelectorAll("section[data-board]")) {
  const table = section.querySelector("table"), find = section.querySelector(".find"), kind = section.querySelector(".kind");
  [...table.tHead.rows[0].cells].forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => sortBy(table, column)));
  const filter = () => {
    for (const row of table.tBodies[0].rows) {
      const named = row.cells[1].textContent.toLowerCase().includes(find.value.toLowerCase());
      row.hidden = !named || (kind.value !== "" && row.dataset.kind !== kind.value);
    }
  };
  find.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  const choices = ["first", "second"].map((which) => section.querySelector("select." + which));
  const said = section.querySelector(".comparison"), board = scores[section.dataset.board];
  const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(3);
  const compare = () => {
    const [a, b] = choices.map((choice) => board[choice.value]);
    const names = choices.map((choice) => choice.selectedOptions[0].textContent.split(",")[0]);
    const { mean, low, high } = paired(a, b);
    const verdict = low > 0 ? "is ahead" : high < 0 ? "is behind" : "is not told from it";
    said.textContent = `${names[0]} minus ${names[1]}: ${signed(mean)} [${signed(low)}, ${signed(high)}], paired over ${Math.min(a.length, b.length)} students: ${names[0]} ${verdict}.`;
  };
  choices.forEach((choice) => choice.addEventListener("change", compare));
  // Once the board is about to be seen: two thousand resamples each, for dozens of boards, would hold the page up.
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      observer.disconnect();
      compare();
    }
  }, { rootMargin: "100%" }).observe(section);
}
