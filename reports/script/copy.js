// Copied tables, as CSV, Markdown and LaTeX.

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
