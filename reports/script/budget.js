// Which rows the reader wants: limits, words, choices; and in one line for each data set the best of them.

const SIZES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 };
const TIMES = { ms: 1e-3, s: 1, min: 60, h: 3600, d: 86400 };
const OPERATORS = {
  "<": (x, y) => x < y, "<=": (x, y) => x <= y, "≤": (x, y) => x <= y,
  ">": (x, y) => x > y, ">=": (x, y) => x >= y, "≥": (x, y) => x >= y, "=": (x, y) => x === y,
};

// "300k", "1.5 M", "2 GiB", "90 %", "5 min" as a number; NaN if it is none.
function amount(text) {
  const found = text.trim().match(/^([\d.,]+)\s*([a-zA-Z]*)\s*(?:%|images\/s)?$/);
  if (!found) return NaN;
  const number = Number(found[1].replaceAll(",", ""));
  const unit = found[2].replace(/B$/, "");
  return number * (unit === "" ? 1 : SIZES[unit] ?? SIZES[unit.toUpperCase()] ?? SIZES[unit.toLowerCase()] ?? TIMES[unit] ?? NaN);
}

function limits(controls) {
  return [...controls.querySelectorAll("input[data-metric]")];
}

// A row's number by the name of a metric, an argument or a setting; a fraction such as 2/3 is a number.
function numberOf(facts, name) {
  const key = { "top-1": "top1", "images/s": "throughput", speed: "throughput" }[name] ?? name;
  if (key in facts.values) return facts.values[key];
  const text = facts.arguments[key];
  const fraction = text?.match(/^(\d+)\/(\d+)$/);
  return fraction ? fraction[1] / fraction[2] : text === undefined || text === "" ? undefined : Number(text);
}

// Returns a function that says which rows fit what the controls hold now, and what in them cannot be understood.
function rowFilter(controls, fields) {
  const names = new Set(data.metrics.map(({ key }) => key).concat("top-1", "images/s", "speed"));
  for (const { arguments: given } of data.rows) for (const name of Object.keys(given)) names.add(name);
  for (const field of limits(controls)) draggable(field);

  function term(word) {
    const [, name, operator, text] = word.match(/^([\p{L}\d_/-]+)(<=|>=|[<>≤≥=])(.+)$/u) ?? [];
    if (!name || !names.has(name.toLowerCase())) {
      const problem = name && /[<>≤≥]/.test(operator) ? `Find: “${name}” is no metric or argument of these rows.` : "";
      return { problem, fit: (line) => line.text.includes(word.toLowerCase()) };
    }
    const limit = text.match(/^(\d+)\/(\d+)$/) ? text.split("/").reduce((x, y) => x / y) : amount(text);
    if (Number.isNaN(limit)) return { problem: `Find: “${text}” is no number such as 300k, 1.5M or 2GiB.`, fit: () => true };
    return { problem: "", fit: ({ facts }) => OPERATORS[operator](numberOf(facts, name.toLowerCase()) ?? NaN, limit) };
  }

  return () => {
    const either = fields.text.value.split("|").map((part) => part.split(/\s+/).filter(Boolean).map(term));
    const groups = either.filter((words) => words.length);
    const bounds = limits(controls).filter((field) => field.value.trim()).map((field) => {
      const limit = amount(field.value);
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
      problem: wrong ? `Budget: “${wrong.text}” is no number such as 300k, 1.5M or 2GiB.`
        : either.flat().map(({ problem }) => problem).find(Boolean) ?? "",
      fit: (line) => chosen.every(([name, value]) => !value || line.facts[name] === value)
        && within.every(({ metric, bound, limit }) => {
          const value = line.facts.values[metric];
          return value !== undefined && (bound === "min" ? value >= limit : value <= limit);
        })
        && (!groups.length || groups.some((words) => words.every(({ fit }) => fit(line)))),
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
    field.value = Number(slider.value) === off ? "" : compact(value, bound);
    // the slider's own event goes on to the form, which filters
  });
  field.drag = () => {
    const value = field.value.trim() ? amount(field.value) : NaN;
    const at = Number.isNaN(value) ? off : 100 * Math.log(value / low) / Math.log(high / low);
    if (document.activeElement !== slider) slider.value = Math.min(100, Math.max(0, at));
    slider.setAttribute("aria-valuetext", field.value || "any");
  };
}

// Three digits with a suffix, rounded so that the value itself keeps the limit: 1430 as at least 1.43k.
function compact(value, bound) {
  const [suffix, size] = Object.entries({ T: 1e12, G: 1e9, M: 1e6, k: 1e3 }).find(([, size]) => value >= size) ?? ["", 1];
  const unit = size * 10 ** (Math.floor(Math.log10(value / size)) - 2);
  const rounded = (bound === "min" ? Math.floor(value / unit) : Math.ceil(value / unit)) * unit / size;
  return `${Number(rounded.toPrecision(3))}${suffix}`;
}

// "Best of these: ConvMixer, 91.1 ± 0.5 %; −0.8 ± 0.4 to the best of all, MLP-Mixer; agrees with the paper."
function answer(output) {
  const first = data.metrics.find(({ key }) => data.rows.some(({ values }) => key in values && (key === "top1" || key === "throughput")));
  if (!first) return;
  const better = (a, b) => (b.values[first.key] - a.values[first.key]) * (first.better === "high" ? 1 : -1);
  const show = (keys) => {
    const kept = keys.map((key) => rowData.get(key)).filter(({ values }) => first.key in values);
    const lines = [...new Set(data.rows.map(({ images }) => images))].flatMap((images) => {
      const best = kept.filter((row) => row.images === images).sort(better)[0];
      return best ? [describe(best, images)] : [];
    });
    output.replaceChildren(...(lines.length ? lines : [line("No row fits.")]));
  };
  function describe(best, images) {
    const top = data.rows.filter((row) => row.images === images && first.key in row.values).sort(better)[0];
    const link = document.createElement("a");
    link.href = `#row-${best.key}`;
    link.dataset.row = best.key;
    link.textContent = best.name;
    const texts = [`: ${best.texts[first.key]}`];
    if (best !== top) {
      const apart = first.key === "top1" ? verdict(best, top).text
        : `× ${significant(best.values[first.key] / top.values[first.key])}`;
      texts.push(`${apart} to the best of all, ${top.name}`);
    }
    if (best.agrees !== null) texts.push(best.agrees ? "agrees with the paper" : "does not agree with the paper");
    if (best.flags.length) texts.push(`flags: ${best.flags.join(", ")}`);
    const several = data.rows.some((row) => row.images !== images);
    return line(`${several ? `${images}, best` : "Best"} of those shown: `, link, texts.join("; "));
  }
  function line(...parts) {
    const paragraph = document.createElement("p");
    paragraph.append(...parts);
    return paragraph;
  }
  on("shown", show);
  show(view.shown);
}
