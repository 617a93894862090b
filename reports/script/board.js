// The leaderboard: sorted, filtered, set against a baseline, copied; the view is kept in the URL's fragment.

const collator = new Intl.Collator(undefined, { numeric: true });
const FIRST = 200; // rows on the screen at first: a browser takes its time to lay out a thousand

function leaderboard(table, controls) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const standard = heads.filter((head) => !head.hidden).map((head) => head.dataset.column);
  const rows = [...body.rows].map((row) => {
    const cells = [...row.cells];
    const shown = cells.map((cell) => [...cell.childNodes]);
    const values = cells.map((cell, at) => value(cell, heads[at].dataset.kind));
    return { row, cells, shown, values, text: row.textContent.toLowerCase(), relative: [] };
  });
  const shown = document.getElementById("shown");
  const fields = controls.elements; // controls.dataset would be its data-* where there is no such field
  let sort = { column: "", ascending: true };
  let order = rows;
  let most = FIRST;
  const more = document.createElement("button");
  more.type = "button";
  more.className = "more";
  table.parentElement.after(more);
  more.addEventListener("click", () => {
    most = Infinity;
    filterRows();
  });

  function value(cell, kind) {
    if (kind === "text") return cell.dataset.text ?? cell.dataset.v ?? "";
    return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
  }

  // What is best comes first, what is missing last, whichever way the rest is sorted.
  function sortRows() {
    const at = heads.findIndex((head) => head.dataset.column === sort.column);
    order = rows;
    if (at >= 0) {
      const sign = sort.ascending ? 1 : -1;
      const missing = (value) => value === null || value === "" || Number.isNaN(value);
      order = [...rows].sort((a, b) => {
        const [x, y] = [a.values[at], b.values[at]];
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        return sign * (typeof x === "string" ? collator.compare(x, y) : x - y);
      });
    }
    filterRows(Math.min(most, FIRST));
    body.replaceChildren(...order.map((line) => line.row));
    if (most > FIRST) requestAnimationFrame(() => setTimeout(filterRows)); // the rest once the first are on the screen
    heads.forEach((head, index) => {
      if (index === at) head.setAttribute("aria-sort", sort.ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  function filterRows(limit = most) {
    const words = fields.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const family = fields.family?.value;
    const dataset = fields.dataset?.value;
    let count = 0;
    for (const { row, text } of order) {
      const fits = (!family || row.dataset.family === family) && (!dataset || row.dataset.dataset === dataset)
        && words.every((word) => text.includes(word));
      row.hidden = !fits;
      count += fits;
      row.classList.toggle("later", fits && count > limit);
    }
    more.hidden = count <= most;
    more.textContent = `Show all ${count.toLocaleString("en")} rows`;
    shown.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
    set("shown", order.filter(({ row }) => !row.hidden).map(({ row }) => row.dataset.row));
  }

  function chosenColumns() {
    return [...controls.querySelectorAll("[name=column]:checked")].map((box) => box.value);
  }

  function hideColumns() {
    const chosen = new Set(["name", ...chosenColumns()]);
    heads.forEach((head, at) => {
      const hidden = !chosen.has(head.dataset.column);
      if (head.hidden === hidden) return;
      head.hidden = hidden;
      for (const { cells } of rows) cells[at].hidden = hidden;
    });
  }

  // Accuracy by difference, prices by ratio; rows of another dataset cannot be compared.
  function compare() {
    const base = rows.find(({ row }) => row.dataset.row === fields.base.value);
    document.getElementById("versus").hidden = !base;
    for (const line of rows) {
      line.row.classList.toggle("baseline", line === base);
      line.cells.forEach((cell, at) => {
        const kind = heads[at].dataset.kind;
        if (kind !== "points" && kind !== "ratio") return;
        const relative = base && line !== base ? against(line, base, at, kind) : null;
        if (relative === null && line.relative[at] === undefined) return;
        if (relative === null) {
          delete line.relative[at];
          cell.replaceChildren(...line.shown[at]);
        } else {
          line.relative[at] = relative.value;
          cell.replaceChildren(relative.text);
        }
      });
    }
  }

  function against(line, base, at, kind) {
    const [ours, theirs] = [line.values[at], base.values[at]];
    if (line.row.dataset.dataset !== base.row.dataset.dataset || ours === null || theirs === null) {
      return { value: "", text: "–" };
    }
    if (kind === "points") {
      const tested = JSON.parse(line.row.dataset.versus ?? "{}")[base.row.dataset.row];
      const digits = Math.min(...[line, base].map((each) => decimals(plain(each.shown[at][0]))));
      return { value: ours - theirs, text: tested ?? signed(ours - theirs, digits) };
    }
    return theirs ? { value: ours / theirs, text: `× ${significant(ours / theirs)}` } : { value: "", text: "–" };
  }

  // The rows and columns that are shown, as texts; for CSV the numbers behind them.
  function cellsShown(exact) {
    const columns = heads.flatMap((head, at) => (head.hidden ? [] : [at]));
    const base = rows.find(({ row }) => row.dataset.row === fields.base.value);
    const title = (at) => {
      const { column, kind } = heads[at].dataset;
      if (!exact) return heads[at].dataset.title;
      const how = { points: "_difference", ratio: "_ratio" }[kind];
      return base && how ? column + how : column;
    };
    const cell = (line, at) => {
      if (exact) return line.relative[at] ?? (line.cells[at].dataset.text ?? line.cells[at].dataset.v ?? "");
      return line.cells[at].dataset.text ?? plain(line.cells[at]);
    };
    const lines = order.filter(({ row }) => !row.hidden);
    return {
      numeric: columns.map((at) => heads[at].dataset.kind !== "text"),
      lines: [columns.map(title), ...lines.map((line) => columns.map((at) => cell(line, at)))],
    };
  }

  async function copy(form) {
    const { lines, numeric } = cellsShown(form === "csv");
    const text = { csv, markdown, latex }[form](lines, numeric);
    const count = lines.length - 1;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea"); // where the browser lends no clipboard to a file
      area.value = text;
      document.body.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      if (!copied) return void (shown.textContent = "The browser does not allow copying.");
    }
    shown.textContent = `${count} ${count === 1 ? "row" : "rows"} copied`;
  }

  // The view as part of the URL's fragment, so that a link shows the same; only what differs from the page as it opens.
  function remember(place = "leaderboard") {
    const view = new URLSearchParams();
    if (sort.column) view.set("sort", (sort.ascending ? "" : "-") + sort.column);
    for (const name of ["text", "family", "dataset", "base"]) {
      if (fields[name]?.value) view.set(name, fields[name].value);
    }
    const chosen = chosenColumns();
    const usual = chosen.length === standard.length - 1 && chosen.every((name) => standard.includes(name));
    if (!usual) view.set("columns", chosen.join(","));
    if (view.size || location.hash.includes("?")) history.replaceState(null, "", `#${place}${view.size ? `?${view}` : ""}`);
  }

  function restore() {
    const [place, said] = address();
    if (said === undefined) return void remember(place); // a link within the page: the view stays with it
    const view = new URLSearchParams(said);
    const column = view.get("sort") ?? "";
    sort = { column: column.replace(/^-/, ""), ascending: !column.startsWith("-") };
    for (const name of ["text", "family", "dataset", "base"]) {
      if (fields[name]) fields[name].value = view.get(name) ?? "";
      if (fields[name]?.selectedIndex === -1) fields[name].value = ""; // no such family any more
    }
    const columns = view.get("columns")?.split(",") ?? standard;
    for (const box of controls.querySelectorAll("[name=column]")) box.checked = columns.includes(box.value);
    for (const step of [sortRows, hideColumns, compare]) step();
    document.getElementById(place)?.scrollIntoView({ behavior: "instant" });
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const column = head.dataset.column;
      sort = { column, ascending: sort.column === column ? !sort.ascending : head.dataset.better === "low" };
      sortRows();
      remember();
    });
  }
  controls.addEventListener("input", (event) => {
    const step = { column: hideColumns, base: compare }[event.target.name] ?? filterRows;
    step();
    remember();
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.querySelector(".copy").addEventListener("click", (event) => {
    if (event.target.value) copy(event.target.value);
  });
  const menu = controls.querySelector(".menu");
  document.addEventListener("click", (event) => {
    if (menu.open && !menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  window.addEventListener("hashchange", restore);
  controls.hidden = false;
  filterRows();
  restore();
}
