// Copied tables, as CSV, Markdown and LaTeX, and the references of their rows as BibTeX.
// A table has lines (the head first), which of its columns are numeric, its best cells as "row column", counted from 0
// without the head, a caption, and the flags that the last column counts from 1.

const FULL_LINE = 65; // characters of a table's columns that a page's line has room for

// A spreadsheet would run text that begins like a formula (mixbench/report/formats/csv.py); numbers stay numbers.
function csv({ lines, numeric }) {
  const formula = /^(?:[\t\r\n]|[\s\ufeff\u200b\u2060]*[=+\-@＝＋－＠﹦﹢﹣﹫−])/;
  const cell = (text, at) => {
    const number = numeric[at] && text !== "" && !Number.isNaN(Number(text));
    const safe = !number && formula.test(text) ? `'${text}` : String(text);
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return lines.map((line) => line.map(cell).join(",") + "\n").join("");
}

// As mixbench/report/formats/markdown.py: no markup, no HTML, no entity, no link.
function markdown({ lines: [head, ...lines], numeric, best, caption, flags }) {
  const escape = (cell) => cell.replace(/[\\`*[\]<>|~&$@]/g, "\\$&")
    .replace(/(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g, "\\_").replace(/(?<=:)\/(?=\/)|(?<=www)\./gi, "\\$&");
  const row = (cells) => `| ${cells.join(" | ")} |\n`;
  const body = lines.map((line, at) => row(line.map((cell, column) => {
    return best.has(`${at} ${column}`) ? `**${escape(cell)}**` : escape(cell);
  })));
  const notes = flags.map((flag, at) => `${at + 1}. ${escape(flag)}\n`).join("");
  return row(head.map(escape)) + `|${numeric.map((right) => (right ? "---:" : "---")).join("|")}|\n` + body.join("")
    + `\n${escape(caption)}\n` + (notes ? `\nFlags:\n\n${notes}` : "");
}

// As mixbench/report/formats/latex.py.
function latex({ lines: [head, ...lines], numeric, best, caption, flags }) {
  const special = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "×": "$\\times$",
    "−": "$-$", "–": "--", "◆": "$\\diamond$", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
    "\"": "\\textquotedbl{}", "`": "\\textasciigrave{}", "'": "\\textquotesingle{}", "·": "$\\cdot$", "…": "\\dots{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "\ufffd": "?", "-": "-{}", "≈": "$\\approx$", "Δ": "$\\Delta$", "✓": "$\\surd$", "✗": "$\\times$",
  };
  const escape = (cell) => cell.replace(/-(?=-)|[\\~^±×−–◆<>|"`'·…[\]*\ufffd≈Δ✓✗&%$#_{}]/g, (sign) => special[sign] ?? `\\${sign}`);
  const row = (cells) => `${cells.join(" & ")} \\\\\n`;
  const body = lines.map((line, at) => row(line.map((cell, column) => {
    return best.has(`${at} ${column}`) ? `\\textbf{${escape(cell)}}` : escape(cell);
  })));
  const notes = flags.length ? ` Flags: ${flags.map((flag, at) => `(${at + 1}) ${escape(flag)}`).join("; ")}.` : "";
  const columns = numeric.map((right) => (right ? "r" : "l")).join("");
  const width = head.reduce((sum, _, at) => sum + Math.max(...[head, ...lines].map((line) => line[at].length)), 0);
  const [open, close] = width > FULL_LINE ? ["\\resizebox{\\linewidth}{!}{%\n", "}"] : ["", ""];
  return "% needs \\usepackage[T1]{fontenc}, \\usepackage{booktabs} and \\usepackage{graphicx}\n\\begin{table}\n\\centering\n"
    + `\\caption{${escape(caption)}${notes}}\n${open}\\begin{tabular}{${columns}}\n\\toprule\n${row(head.map(escape))}\\midrule\n`
    + `${body.join("")}\\bottomrule\n\\end{tabular}${close}\n\\end{table}\n`;
}

// The papers of these rows, each once, and mixbench.
function bibtex(keys) {
  const cited = new Set(keys.flatMap((key) => data.cited[key]));
  return [...[...cited].map((number) => data.references[number]), data.software].join("\n");
}

// After the last column, what belongs to the accuracy: half of its 95 % interval, of a difference the verdict too.
function withIntervals(table, heads, lines, base) {
  const isShown = ({ dataset }) => dataset.kind === "points";
  const head = heads.find((each) => isShown(each) && !each.hidden);
  if (!head) return;
  const isRelative = (line) => base && line !== base && line.facts.images === base.facts.images && line.relative.some((value) => value !== "");
  const found = lines.map((line) => (isRelative(line) ? verdict(line.facts, base.facts) : null));
  const name = base ? `${head.dataset.column}_difference` : head.dataset.column;
  const columns = [[`${name}_ci95`, true, lines.map(({ facts }, at) => (base ? found[at]?.halfWidth : facts.interval) ?? "")]];
  if (base) columns.push([`${name}_verdict`, false, found.map((each) => each?.outcome ?? "")]);
  for (const [title, isNumeric, values] of columns) {
    table.numeric.push(isNumeric);
    table.lines[0].push(title);
    values.forEach((value, at) => table.lines[at + 1].push(value));
  }
}

// The best cells of each column and data set, as "row column": all that are equal, none where all rows are.
function bestCells(heads, lines, columns) {
  const found = new Set();
  for (const [place, at] of columns.entries()) {
    if (!["points", "ratio"].includes(heads[at].dataset.kind)) continue;
    const sign = heads[at].dataset.better === "high" ? -1 : 1;
    const alike = ({ facts }) => ("speed" in heads[at].dataset ? `${facts.images} ${facts.device}` : facts.images);
    for (const group of new Set(lines.map(alike))) {
      const costs = lines.map((line) => {
        const shows = line.values[at] !== null && line.relative[at] !== "";
        return alike(line) === group && shows ? sign * line.values[at] : Infinity;
      });
      const known = costs.filter(Number.isFinite);
      if (new Set(known).size < 2) continue;
      costs.forEach((cost, line) => { if (cost === Math.min(...known)) found.add(`${line} ${place}`); });
    }
  }
  return found;
}
