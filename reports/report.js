"use strict";
// The page's only script.  It sorts and filters the leaderboard, sets it against a baseline, copies what is shown,
// keeps the view in the URL's fragment (#figures?sort=-top1: a place in the page and the view), and ties the figures'
// marks to the rows.  Without it the page is whole.

const collator = new Intl.Collator(undefined, { numeric: true });
const FIRST = 200; // rows on the screen at first: a browser takes its time to lay out a thousand
const MOST_PRINTED = 200; // folded parts
const table = document.getElementById("board");
const controls = document.getElementById("controls");
if (table) leaderboard(table, controls);
figures(document.getElementById("tip"));

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

// The place in the page that the URL's fragment names, and the leaderboard's view, if it holds one.
function address() {
  const [place, ...view] = location.hash.slice(1).split("?");
  try {
    return [decodeURIComponent(place), view.length ? view.join("?") : undefined];
  } catch {
    return ["", undefined]; // a link that was cut short
  }
}

// A mark that is pointed at or has the focus says its name, and lights its row; a row lights its marks.
function figures(tip) {
  const together = new Map();
  for (const element of document.querySelectorAll("[data-row]")) {
    const key = element.dataset.row;
    together.set(key, [...(together.get(key) ?? []), element]);
    const title = element instanceof SVGElement ? element.querySelector("title") : null;
    if (title) {
      element.setAttribute("aria-label", title.textContent);
      title.remove(); // the browser's own tip would come second
    }
  }
  let lit = "";
  let mark = null; // what the tip speaks of
  let tapped = null;

  function light(element) {
    const key = element?.dataset.row ?? "";
    if (key !== lit) {
      for (const each of together.get(lit) ?? []) each.classList.remove("lit");
      for (const each of together.get(key) ?? []) each.classList.add("lit");
      document.body.classList.toggle("lighting", key !== "");
      lit = key;
    }
    say(element instanceof SVGElement ? element : null);
  }

  function say(element) {
    mark = element;
    tip.hidden = !mark;
    tip.textContent = mark?.getAttribute("aria-label") ?? mark?.title ?? "";
    if (mark) place();
  }

  function place() {
    const box = mark.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${box.top > tip.offsetHeight + 12 ? box.top - tip.offsetHeight - 8 : box.bottom + 8}px`;
  }

  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => light(event.target.closest?.("[data-row]")));
  }
  document.addEventListener("scroll", () => { if (mark) place(); }, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") light(null); });
  // What a cell says when it is pointed at, it says to a keyboard and a finger too.
  document.addEventListener("focusin", (event) => { if (event.target.matches("td[title]")) say(event.target); });
  // A mark leads to its row, or to the model where the row is filtered out; a finger reads its name first.
  document.addEventListener("click", (event) => {
    const touched = event.pointerType === "touch";
    const cell = event.target.closest?.("td[title]");
    if (touched && cell) return say(cell);
    const link = event.target.closest?.("a[data-row]");
    const row = link && document.getElementById(`row-${link.dataset.row}`);
    if (!row) return;
    event.preventDefault();
    if (touched && link instanceof SVGElement && tapped !== link) {
      tapped = link;
      return light(link);
    }
    if (row.hidden) return void (location.hash = row.querySelector("a").hash);
    row.classList.remove("later");
    row.scrollIntoView({ block: "center" });
    row.querySelector("a").focus({ preventScroll: true });
  });
  // A link into a folded model unfolds it.
  const unfold = () => {
    const target = document.getElementById(address()[0]);
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  window.addEventListener("hashchange", unfold);
  // Paper cannot be unfolded.  Of very many models only those that are open are printed.
  const folded = [...document.querySelectorAll("main details:not(.menu)")];
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = folded.length <= MOST_PRINTED ? folded.filter((each) => !each.open) : [];
    for (const each of opened) each.open = true;
  });
  window.addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
  unfold();
}

function plain(element) {
  return element.textContent.replace(/\s+/g, " ").trim();
}

function decimals(text) {
  return text.match(/^\d+\.?(\d*)/)?.[1].length ?? 0;
}

function signed(number, digits) {
  const text = Math.abs(number).toFixed(digits);
  return Number(text) === 0 ? text : (number < 0 ? "−" : "+") + text;
}

function significant(number) {
  return number.toLocaleString("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
}

// A spreadsheet would run text that begins like a formula (mixbench/report/formats/csv.py); numbers stay numbers.
function csv(lines, numeric) {
  const formula = /^(?:[\t\r\n]|[\s\ufeff\u200b\u2060]*[=+\-@＝＋－＠﹦﹢﹣﹫−])/;
  const cell = (text, at) => {
    const number = numeric[at] && text !== "" && !Number.isNaN(Number(text));
    const safe = !number && formula.test(text) ? `'${text}` : String(text);
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return lines.map((line) => line.map(cell).join(",") + "\n").join("");
}

// As mixbench/report/formats/markdown.py: no markup, no HTML, no entity, no link.
function markdown([head, ...lines], numeric) {
  const escape = (cell) => cell.replace(/[\\`*[\]<>|~&$@]/g, "\\$&")
    .replace(/(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g, "\\_").replace(/(?<=:)\/(?=\/)|(?<=www)\./gi, "\\$&");
  const row = (cells) => `| ${cells.map(escape).join(" | ")} |\n`;
  return row(head) + `|${numeric.map((right) => (right ? "---:" : "---")).join("|")}|\n` + lines.map(row).join("");
}

// As mixbench/report/formats/latex.py.
function latex([head, ...lines], numeric) {
  const special = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "×": "$\\times$",
    "−": "$-$", "–": "--", "◆": "$\\diamond$", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
    "\"": "\\textquotedbl{}", "`": "\\textasciigrave{}", "'": "\\textquotesingle{}", "·": "$\\cdot$", "…": "\\dots{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "\ufffd": "?", "-": "-{}",
  };
  const escape = (cell) => cell.replace(/-(?=-)|[\\~^±×−–◆<>|"`'·…[\]*\ufffd&%$#_{}]/g, (sign) => special[sign] ?? `\\${sign}`);
  const row = (cells) => `${cells.map(escape).join(" & ")} \\\\\n`;
  const columns = numeric.map((right) => (right ? "r" : "l")).join("");
  return `\\begin{tabular}{${columns}}\n\\toprule\n${row(head)}\\midrule\n${lines.map(row).join("")}\\bottomrule\n\\end{tabular}\n`;
}
