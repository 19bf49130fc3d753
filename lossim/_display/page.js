
"use strict";
// Tables: a click on the name of a column sorts by it, the next one the other way round, the third as it was.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const groups = [...table.tBodies].map((body) => {
    const rows = [...body.rows];
    return { body, heading: rows.filter((row) => row.className === "heading"),
             rows: rows.filter((row) => row.className !== "heading") };
  });
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (!button.textContent) button.setAttribute("aria-label", "name");
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
      heads.forEach((each) => each.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", next);
      for (const { body, heading, rows } of groups) body.append(...heading, ...sorted(rows, column, next));
    });
  });
}

function sorted(rows, column, way) {
  if (way === "none") return rows;
  const sign = way === "ascending" ? 1 : -1;
  const words = new Intl.Collator("en", { numeric: true });
  return [...rows].sort((one, other) => {
    const [a, b] = [one.cells[column], other.cells[column]];
    const [x, y] = [a, b].map((cell) => ("value" in cell.dataset ? Number(cell.dataset.value) : null));
    // Numbers come first, what is not known last, whichever way.
    if (x !== null && y !== null) return sign * (x - y);
    if (x !== null || y !== null) return x !== null ? -1 : 1;
    if (!a.textContent || !b.textContent) return (a.textContent ? 0 : 1) - (b.textContent ? 0 : 1);
    return sign * words.compare(a.textContent, b.textContent);
  });
}

// On paper all is open.
const opened = [];
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details:not([open])")) {
    each.open = true;
    opened.push(each);
  }
});
addEventListener("afterprint", () => {
  for (const each of opened.splice(0)) each.open = false;
});
