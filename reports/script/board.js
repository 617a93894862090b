// The leaderboard: sorted within each data set, filtered, set against a baseline, copied.

const collator = new Intl.Collator(undefined, { numeric: true });
const FIRST = 200; // rows on the screen at first: a browser takes its time to lay out a thousand
const ON_A_PHONE = ["top1", "params", "throughput"];

function leaderboard(table, controls) {
  const heads = [...table.tHead.rows[0].cells];
  const phone = matchMedia("(max-width: 40rem)").matches;
  const standard = heads.map((head) => head.dataset.column)
    .filter((name, at) => !heads[at].hidden && (!phone || name === "name" || ON_A_PHONE.includes(name)));
  const groups = [...table.tBodies].map((body) => ({ body, head: body.querySelector("tr.images"), rows: [], order: [] }));
  for (const group of groups) {
    group.rows = [...group.body.querySelectorAll("tr[data-row]")].map((row) => {
      const cells = [...row.cells];
      const shown = cells.map((cell) => [...cell.childNodes]);
      const values = cells.map((cell, at) => value(cell, heads[at].dataset.kind));
      const key = row.dataset.row;
      return { row, key, cells, shown, values, text: row.textContent.toLowerCase(), relative: [], facts: rowData.get(key) };
    });
    group.order = group.rows;
  }
  const rows = groups.flatMap((group) => group.rows);
  const shown = document.getElementById("shown");
  const printed = document.getElementById("printed"); // the view in words, as paper has no controls
  const fields = controls.elements; // controls.dataset would be its data-* where there is no such field
  const fits = rowFilter(controls, fields);
  let sort = { column: "", ascending: true };
  let most = FIRST;
  const more = document.createElement("button");
  more.type = "button";
  more.className = "more";
  table.closest(".full").after(more);
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
    const sign = sort.ascending ? 1 : -1;
    const missing = (value) => value === null || value === "" || Number.isNaN(value);
    for (const group of groups) {
      group.order = group.rows;
      if (at < 0) continue;
      group.order = [...group.rows].sort((a, b) => {
        const [x, y] = [a.values[at], b.values[at]];
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        return sign * (typeof x === "string" ? collator.compare(x, y) : x - y);
      });
    }
    filterRows(Math.min(most, FIRST));
    for (const { body, head, order } of groups) body.replaceChildren(...(head ? [head] : []), ...order.map((line) => line.row));
    if (most > FIRST) requestAnimationFrame(() => setTimeout(filterRows)); // the rest once the first are on the screen
    heads.forEach((head, index) => {
      if (index === at) head.setAttribute("aria-sort", sort.ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  function filterRows(limit = most) {
    const { fit, problem } = fits();
    let count = 0;
    for (const { head, order } of groups) {
      const before = count;
      for (const line of order) {
        line.row.hidden = !fit(line);
        count += !line.row.hidden;
        line.row.classList.toggle("later", !line.row.hidden && count > limit);
      }
      if (head) head.hidden = count === before;
    }
    more.hidden = count <= most;
    more.textContent = `Show all ${count.toLocaleString("en")} rows`;
    const limited = limits(controls).filter((field) => field.value.trim())
      .map((field) => `${plain(field.parentElement)} ${field.value}`);
    const chosen = ["text", "dataset", "recipe", "family"].map((name) => fields[name]?.value).filter(Boolean);
    const base = rows.find(({ key }) => key === fields.base.value);
    printed.textContent = [`${count} of ${rows.length} rows`, ...limited, ...chosen, ...(base ? [`relative to ${base.facts.name}`] : [])].join("; ");
    shown.textContent = problem || (count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`);
    set("shown", groups.flatMap(({ order }) => order.filter(({ row }) => !row.hidden).map(({ key }) => key)));
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
    fitBoxes([table.parentElement]);
  }

  // Accuracy by difference, prices by ratio; rows of another dataset cannot be compared.
  function compare() {
    const base = rows.find(({ key }) => key === fields.base.value);
    document.getElementById("versus").hidden = !base;
    filterRows();
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
    if (line.facts.images !== base.facts.images || ours === null || theirs === null) return { value: "", text: "–" };
    if (kind === "points") return { value: ours - theirs, text: verdict(line.facts, base.facts).text };
    const isSpeed = "speed" in heads[at].dataset;
    if (isSpeed && line.facts.device !== base.facts.device) return { value: "", text: "–" };
    const unsure = isSpeed && (line.facts.unsure || base.facts.unsure);
    return theirs ? { value: ours / theirs, text: `${unsure ? "≈ " : ""}× ${significant(ours / theirs)}` } : { value: "", text: "–" };
  }

  // The rows and columns that are shown, as texts; for CSV the numbers behind them.
  function cellsShown(exact) {
    const columns = heads.flatMap((head, at) => (head.hidden && head.dataset.column !== "dataset" ? [] : [at]));
    const base = rows.find(({ key }) => key === fields.base.value);
    const title = (at) => {
      const { column, kind, title } = heads[at].dataset;
      const isRelative = base && (kind === "points" || kind === "ratio");
      if (exact) return isRelative ? column + { points: "_difference", ratio: "_ratio" }[kind] : column;
      return isRelative ? `${kind === "points" ? "Δ" : "×"} ${title} vs ${base.facts.name}` : title;
    };
    const cell = (line, at) => {
      const { kind } = heads[at].dataset;
      if (line === base && (kind === "points" || kind === "ratio")) return exact ? Number(kind === "ratio") : "baseline";
      if (exact) return line.relative[at] ?? (line.cells[at].dataset.text ?? line.cells[at].dataset.v ?? "");
      return line.cells[at].dataset.text ?? plain(line.cells[at]);
    };
    const lines = groups.flatMap(({ order }) => order).filter(({ row }) => !row.hidden);
    const flags = [...new Set(lines.flatMap(({ facts }) => facts.flags))];
    const table = {
      numeric: columns.map((at) => heads[at].dataset.kind !== "text"),
      lines: [columns.map(title), ...lines.map((line) => columns.map((at) => cell(line, at)))],
      best: bestCells(heads, lines, columns),
      caption: data.caption,
      flags,
    };
    if (exact) withIntervals(table, heads, lines, base);
    if (flags.length && exact) {
      table.numeric.push(false);
      table.lines[0].push("flags");
      lines.forEach(({ facts }, at) => table.lines[at + 1].push(facts.flags.join("; ")));
    }
    if (flags.length && !exact) {
      table.numeric.push(true);
      table.lines[0].push("Flags");
      lines.forEach(({ facts }, at) => table.lines[at + 1].push(facts.flags.map((flag) => flags.indexOf(flag) + 1).join(", ")));
    }
    return table;
  }

  async function copy(form) {
    const table = cellsShown(form === "csv");
    const text = form === "bibtex" ? bibtex(view.shown) : { csv, markdown, latex }[form](table);
    const count = table.lines.length - 1;
    const done = form === "bibtex" ? "References copied" : `${count} ${count === 1 ? "row" : "rows"} copied`;
    shown.textContent = (await copyText(text)) ? done : "The browser does not allow copying.";
  }

  // The view as part of the URL's fragment, so that a link shows the same; only what differs from the page as it opens.
  const texts = ["text", "family", "dataset", "recipe", "base", ...limits(controls).map(({ name }) => name)];
  keepInAddress({
    keys: ["sort", "columns", "selected", ...texts],
    write(address) {
      if (sort.column) address.set("sort", (sort.ascending ? "" : "-") + sort.column);
      for (const name of texts) if (fields[name]?.value) address.set(name, fields[name].value);
      const chosen = chosenColumns();
      const usual = chosen.length === standard.length - 1 && chosen.every((name) => standard.includes(name));
      if (!usual) address.set("columns", chosen.join(","));
      if (view.selected.length) address.set("selected", view.selected.join(","));
    },
    read(address) {
      const column = address.get("sort") ?? "";
      sort = { column: column.replace(/^-/, ""), ascending: !column.startsWith("-") };
      for (const name of texts) {
        if (fields[name]) fields[name].value = address.get(name) ?? "";
        if (fields[name]?.selectedIndex === -1) fields[name].value = ""; // no such family any more
      }
      const columns = address.get("columns")?.split(",") ?? standard;
      for (const box of controls.querySelectorAll("[name=column]")) box.checked = columns.includes(box.value);
      for (const step of [sortRows, hideColumns, compare]) step();
      set("selected", (address.get("selected") ?? "").split(",").filter((key, at, all) => rowData.has(key) && all.indexOf(key) === at));
    },
  });

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const column = head.dataset.column;
      sort = { column, ascending: sort.column === column ? !sort.ascending : head.dataset.better === "low" };
      sortRows();
      remember("leaderboard");
    });
  }
  selectable(rows);
  controls.addEventListener("input", (event) => {
    const step = { column: hideColumns, base: compare }[event.target.name] ?? filterRows;
    step();
    remember("leaderboard");
  });
  controls.addEventListener("reset", (event) => {
    event.preventDefault(); // only the limits
    for (const field of limits(controls)) field.value = "";
    filterRows();
    remember("leaderboard");
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.querySelector(".copy").addEventListener("click", (event) => {
    if (event.target.value) copy(event.target.value);
  });
  foldMenu(controls.querySelector(".menu"));
  roving(table, "tr[data-row]:not([hidden]):not(.later)", ".name, td[tabindex]");
  controls.hidden = false;
  filterRows();
}

// A check box in each row; the rows that are selected, here or in the figure, are what Compare compares.
function selectable(rows) {
  const boxes = new Map();
  for (const { cells, key, facts } of rows) {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.className = "select";
    box.tabIndex = -1; // reached by the arrow keys, as the rows are; Space on a row's name selects it too
    box.setAttribute("aria-label", `Select ${facts.name}`);
    cells[0].prepend(box);
    boxes.set(key, box);
    const toggle = () => set("selected", box.checked ? [...view.selected, key] : view.selected.filter((each) => each !== key));
    box.addEventListener("change", toggle);
    cells[0].querySelector(".name").addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      box.checked = !box.checked;
      toggle();
    });
  }
  const selection = document.getElementById("selection");
  selection.querySelector("button").addEventListener("click", () => set("selected", []));
  on("selected", (keys) => {
    selection.hidden = !keys.length;
    selection.querySelector("span").textContent = keys.length === 1 ? "1 row selected; one more to compare with." : `${keys.length} rows selected.`;
    selection.querySelector("a").hidden = keys.length < 2;
    for (const [key, box] of boxes) {
      box.checked = keys.includes(key);
      box.closest("tr").classList.toggle("selected", box.checked);
    }
    remember();
  });
}

// A menu closes where the reader goes on elsewhere.
function foldMenu(menu) {
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
}
