// Which rows the reader wants: limits, words, choices; and in one line for each data set the best of them.

const COUNTS = { k: 1e3, M: 1e6, G: 1e9, B: 1e9, T: 1e12 };
const BYTES = Object.fromEntries([...["k", "M", "G", "T"].entries()].flatMap(([at, letter]) => [
  [`${letter}B`, 1000 ** (at + 1)], [`${letter}iB`, 1024 ** (at + 1)], [letter.toUpperCase() + "iB", 1024 ** (at + 1)],
]));
const UNITS = {
  count: { ...COUNTS, "": 1 }, rate: { ...COUNTS, "": 1 }, percent: { "": 1, "%": 1 }, bytes: BYTES,
  seconds: { "": 1, ms: 1e-3, s: 1, min: 60, h: 3600 },
};
const EXAMPLES = { count: "300k or 1.5M", rate: "1.2k", percent: "92.5", bytes: "2 GiB", seconds: "90 s or 5 min" };
const OPERATORS = {
  "<": (x, y) => x < y, "<=": (x, y) => x <= y, "≤": (x, y) => x <= y,
  ">": (x, y) => x > y, ">=": (x, y) => x >= y, "≥": (x, y) => x >= y, "=": (x, y) => x === y,
};

// "300k", "1.5 M", "2 GiB", "90 %", "5 min", "1e6", "1,200" as a number in the unit of this quantity; NaN if it is none.
function amount(text, quantity) {
  const found = text.trim().replace(/\s*(?:images|img)\/s$/i, "").match(/^(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.?\d+(?:e[+-]?\d+)?)\s*([a-z/%]*)$/i);
  const units = UNITS[quantity] ?? UNITS.count;
  if (!found) return NaN;
  const unit = found[2] in units ? found[2] : Object.keys(units).find((each) => each.toLowerCase() === found[2].toLowerCase());
  return unit === undefined ? NaN : Number(found[1].replaceAll(",", "")) * units[unit];
}

function quantityOf(key) {
  return data.metrics.find((metric) => metric.key === key)?.quantity;
}

// Whether a row's value keeps a limit: as it is, or as the page shows it, from a million on with three digits.
function keeps(value, bound, limit) {
  const shown = value >= 1e6 ? Number(value.toPrecision(3)) : value;
  return bound === "min" ? Math.max(value, shown) >= limit : Math.min(value, shown) <= limit;
}

function limits(controls) {
  return [...controls.querySelectorAll("input[data-metric]")];
}

// A row's number by the name of a metric, an argument or a setting; a fraction such as 2/3 is a number.
const ALIASES = { "top-1": "top1", "images/s": "throughput", infer: "throughput", train: "training", speed: "throughput" };

function numberOf(facts, name) {
  const key = ALIASES[name] ?? name;
  if (key in facts.values) return facts.values[key];
  const text = facts.arguments[key];
  const fraction = text?.match(/^(\d+)\/(\d+)$/);
  return fraction ? fraction[1] / fraction[2] : text === undefined || text === "" ? undefined : Number(text);
}

// Returns a function that says which rows fit what the controls hold now, and what in them cannot be understood.
function rowFilter(controls, fields) {
  const names = new Set(data.metrics.map(({ key }) => key).concat(Object.keys(ALIASES)));
  for (const { arguments: given } of data.rows) for (const name of Object.keys(given)) names.add(name);
  for (const field of limits(controls)) draggable(field);

  function term(word) {
    const [, name, operator, text] = word.match(/^([\p{L}\d_/-]+)(<=|>=|[<>≤≥=])(.*)$/u) ?? [];
    const holds = (line) => line.text.includes(word.toLowerCase());
    if (!name) return { problem: "", fit: holds };
    if (!names.has(name.toLowerCase())) {
      return { problem: `Find: “${name}” is no metric or argument of these rows.`, fit: holds };
    }
    const key = ALIASES[name.toLowerCase()] ?? name.toLowerCase();
    const quantity = quantityOf(key);
    const limit = text.match(/^\d+\/\d+$/) ? text.split("/").reduce((x, y) => x / y) : amount(text, quantity);
    if (Number.isNaN(limit)) {
      return { problem: `Find: “${text}” is no number such as ${EXAMPLES[quantity] ?? "3 or 2/3"}.`, fit: () => true };
    }
    const bound = { "<=": "max", "≤": "max", ">=": "min", "≥": "min" }[operator];
    const compare = bound ? (value) => keeps(value, bound, limit) : (value) => OPERATORS[operator](value, limit);
    return { problem: "", fit: ({ facts }) => compare(numberOf(facts, key) ?? NaN) };
  }

  // Words between spaces or quotes; spaces around an operator and before a unit belong to the word.
  function words(text) {
    const joined = text.replace(/\s*(<=|>=|[<>≤≥=])\s*/g, "$1").replace(/([<>≤≥=][\d.,]+)\s+([kMGT]?i?B|[kMGT]|ms|s|min|h|%)(?=\s|\||$)/gi, "$1$2");
    return (joined.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', "")).filter(Boolean);
  }

  return () => {
    const either = fields.text.value.split("|").map((part) => words(part).map(term));
    const groups = either.filter((terms) => terms.length);
    const bounds = limits(controls).filter((field) => field.value.trim()).map((field) => {
      const limit = amount(field.value, quantityOf(field.dataset.metric));
      field.setAttribute("aria-invalid", Number.isNaN(limit));
      return { ...field.dataset, limit, text: field.value };
    });
    for (const field of limits(controls)) {
      if (!field.value.trim()) field.removeAttribute("aria-invalid");
      field.drag();
    }
    const wrong = bounds.find(({ limit }) => Number.isNaN(limit));
    const within = bounds.filter(({ limit }) => !Number.isNaN(limit));
    const chosen = ["family", "recipe", "images"].map((name) => [name, fields[name === "images" ? "dataset" : name]?.value]);
    return {
      problem: wrong ? `Budget: “${wrong.text}” is no number such as ${EXAMPLES[quantityOf(wrong.metric)]}.`
        : either.flat().map(({ problem }) => problem).find(Boolean) ?? "",
      fit: (line) => chosen.every(([name, value]) => !value || line.facts[name] === value)
        && within.every(({ metric, bound, limit }) => {
          const value = line.facts.values[metric];
          return value !== undefined && keeps(value, bound, limit);
        })
        && (!groups.length || groups.some((terms) => terms.every(({ fit }) => fit(line)))),
    };
  };
}

// Ties a limit's slider to its text: from the smallest value among the rows to the largest, in equal ratios.
function draggable(field) {
  const slider = field.nextElementSibling;
  const { metric, bound } = field.dataset;
  const values = data.rows.map(({ values }) => values[metric]).filter((value) => value > 0);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const off = bound === "min" ? 0 : 100;
  if (!(low < high)) slider.hidden = true;
  slider.addEventListener("input", () => {
    const value = low * (high / low) ** (slider.value / 100);
    field.value = Number(slider.value) === off ? "" : compact(value, bound, quantityOf(metric));
    // the slider's own event goes on to the form, which filters
  });
  field.drag = () => {
    const value = field.value.trim() ? amount(field.value, quantityOf(metric)) : NaN;
    const at = Number.isNaN(value) ? off : 100 * Math.log(value / low) / Math.log(high / low);
    if (document.activeElement !== slider) slider.value = Math.min(100, Math.max(0, at));
    slider.setAttribute("aria-valuetext", field.value || "any");
  };
}

// Three digits with a suffix, rounded so that the value itself keeps the limit: 1430 as at least 1.43k.
function compact(value, bound, quantity) {
  const suffixes = quantity === "bytes" ? { GiB: 2 ** 30, MiB: 2 ** 20, kiB: 2 ** 10 }
    : quantity === "count" || quantity === "rate" ? { T: 1e12, G: 1e9, M: 1e6, k: 1e3, "": 1 } : { "": 1 };
  const [suffix, size] = Object.entries(suffixes).find(([, size]) => value >= size) ?? Object.entries(suffixes).at(-1);
  const unit = 10 ** (Math.floor(Math.log10(value / size)) - 2);
  const rounded = (bound === "min" ? Math.floor(value / size / unit) : Math.ceil(value / size / unit)) * unit;
  return `${Number(rounded.toPrecision(3))}${suffix}`;
}

// "Best of those shown: ConvMixer: 91.1 ± 0.5 %; −0.8 ± 0.4 to the best of all, MLP-Mixer; agrees with the paper."
// Of each data set the most accurate row, or the fastest where none has an accuracy.
function answer(output) {
  const all = [...new Set(data.rows.map(({ images }) => images))];
  const show = (keys) => {
    const lines = all.flatMap((images) => {
      const rows = data.rows.filter((row) => row.images === images);
      const first = data.metrics.find(({ key }) => (key === "top1" || key === "throughput") && rows.some(({ values }) => key in values));
      if (!first) return [];
      const sign = first.better === "high" ? -1 : 1;
      const ranked = rows.filter(({ values }) => first.key in values)
        .sort((a, b) => sign * (a.values[first.key] - b.values[first.key])); // stable: of equal ones the board's first
      const best = ranked.find(({ key }) => keys.includes(key));
      return best ? [describe(best, ranked[0], first, images)] : [];
    });
    output.replaceChildren(...(lines.length || keys.length ? lines : [line("No row fits.")]));
  };
  function describe(best, top, first, images) {
    const link = document.createElement("a");
    link.href = `#row-${best.key}`;
    link.dataset.row = best.key;
    link.textContent = best.name;
    const texts = [`: ${best.texts[first.key]}`];
    if (best.values[first.key] !== top.values[first.key]) {
      if (first.key === "top1") texts.push(`${verdict(best, top).text} to the best of all, ${top.name}`);
      else if (best.device === top.device) {
        texts.push(`× ${significant(best.values[first.key] / top.values[first.key])} of the fastest, ${top.name}`);
      }
    }
    if (best.agrees) texts.push(best.agrees === "yes" ? "agrees with the paper" : `differs from the paper in ${best.agrees.replace("not ", "").replaceAll(" or ", ", ")}`);
    if (best.flags.length) texts.push(`flags: ${best.flags.join(", ")}`);
    return line(`${all.length > 1 ? `${images}, best` : "Best"} of those shown: `, link, texts.join("; "));
  }
  function line(...parts) {
    const paragraph = document.createElement("p");
    paragraph.append(...parts);
    return paragraph;
  }
  on("shown", show);
  show(view.shown);
}
