// Columns of the figure: what can be an axis or a colour, how its numbers are written, and the colours and shapes.

const [SMALLEST_LOG, MOST_LISTED] = [5, 10]; // log where values span this factor; colours listed one by one
const COUNTED = new Set(["count", "bytes", "rate"]);

// Every column of numbers: { key, label, group, values (undefined: none), quantity, better, timed }.
function numericColumns() {
  const known = data.metrics.map((metric) => ({
    ...metric, label: metric.axis, group: "Metrics", values: data.rows.map(({ values }) => values[metric.key]),
  }));
  const more = data.columns.map((column) => ({ ...column, values: column.values.map((value) => value ?? undefined) }));
  return [...known, ...more].filter(({ values }) => values.some((value) => value !== undefined)).map((column) => ({
    ...column, label: capital(column.label) + ({ seconds: " (s)", bytes: " (bytes)" }[column.quantity] ?? ""),
  }));
}

// A row's texts by the keys of the columns that they are: everything but metrics.
function textsOf(row, at) {
  const under = (group, texts) => Object.entries(texts).map(([key, text]) => [`${group}.${key}`, text]);
  const facts = [["family", row.family], ["images", row.images], ["device", row.device]];
  const parts = [["arguments", row.arguments], ["settings", row.settings], ["recipe", data.sides[at].recipe]];
  return Object.fromEntries([...facts, ...parts.flatMap(([group, texts]) => under(group, texts))]);
}

// What marks can be coloured by: each { key, label, group, texts of the rows, values where they are numbers }.
function colourColumns(numeric) {
  const texts = data.rows.map(textsOf);
  const groups = { arguments: "Arguments", settings: "Settings", recipe: "Recipe" };
  const labels = { family: "Family", images: "Dataset", device: "Device" };
  const keys = [...new Set(texts.flatMap((each) => Object.keys(each)))].filter((key) => key !== "settings.Registry name");
  const varying = keys.filter((key) => key === "family" || new Set(texts.map((each) => each[key])).size > 1);
  return varying.map((key) => {
    const [group] = key.split(".");
    const column = numeric.find((each) => each.key === key);
    return {
      key, label: labels[key] ?? key.slice(group.length + 1), group: groups[group] ?? "Rows",
      texts: texts.map((each) => each[key]), values: column?.values,
    };
  });
}

function spansDecades({ quantity, values }) {
  const known = values.filter((value) => value !== undefined);
  return COUNTED.has(quantity) && Math.min(...known) > 0 && Math.max(...known) / Math.min(...known) >= SMALLEST_LOG;
}

// The texts of an axis's ticks; an argument's few values are its ticks, written as given: 2/3.
function ticksOf(column, scale, room) {
  const count = Math.max(2, Math.round(room / 90));
  const values = [...new Set(column.values.filter((value) => value !== undefined))];
  if (column.group !== "Metrics" && values.length <= count + 2) {
    return { values, format: (value) => column.texts?.[column.values.indexOf(value)] ?? String(value) };
  }
  return { values: scale.ticks(count), format: scale.tickFormat(count, COUNTED.has(column.quantity) ? "~s" : undefined) };
}

// Colours of marks and lines reach 3:1 on either theme.
function ink(colour) {
  return `light-dark(color-mix(in oklab, ${colour}, black 28%), color-mix(in oklab, ${colour}, white 22%))`;
}

// From 0 to 1 from dark blue over green to brown: ever lighter (in dark mode as well), also to the colour-blind.
function shade(share) {
  const at = (low) => `oklch(${(low + 0.28 * share).toFixed(3)} 0.12 ${(280 - 220 * share).toFixed(0)})`;
  return `light-dark(${at(0.32)}, ${at(0.62)})`;
}

// How rows are painted by a column: { paint(at) → { colour, marker, text }, legend: [{ colour, marker, text }] }.
function painting(column, shown) {
  const none = { colour: "var(--muted)", marker: "o", text: "none" };
  const marker = (at) => data.rows[at].look.marker;
  const texts = (places) => [...new Set(places.map((at) => column.texts[at]))];
  const all = data.rows.map((row, at) => at);
  let entries;
  let paint;
  if (column.values) {
    const known = [...new Set(column.values.filter((value) => value !== undefined))].sort((a, b) => a - b);
    const few = known.length <= MOST_LISTED;
    const [low, high] = [known[0], known.at(-1)];
    const share = (value) => (few ? known.indexOf(value) / Math.max(1, known.length - 1) : (value - low) / (high - low));
    paint = (at) => {
      const value = column.values[at];
      return value === undefined ? { ...none, marker: marker(at) } : { colour: shade(share(value)), marker: marker(at), text: column.texts[at] };
    };
    const listed = few ? known : [0, 1, 2, 3, 4].map((step) => known[Math.round((step * (known.length - 1)) / 4)]);
    entries = listed.map((value) => ({ ...paint(column.values.indexOf(value)), marker: "o" }));
    if (shown.some((at) => column.values[at] === undefined)) entries.push(none);
  } else {
    const own = texts(all).filter((text) => text !== undefined).sort(collator.compare);
    const looks = new Map(own.map((text, at) => [text, data.looks[at % data.looks.length]]));
    paint = (at) => {
      const text = column.texts[at];
      const look = column.key === "family" ? data.rows[at].look : looks.get(text);
      return text === undefined ? none : { colour: ink(look.colour), marker: look.marker, text };
    };
    entries = [...new Map(shown.map((at) => [column.texts[at], paint(at)])).values()];
    entries.sort((a, b) => collator.compare(a.text, b.text));
  }
  return { paint, legend: entries };
}

// Rows that differ in this column alone, in order of its values: lists of places, for lines.
function sweeps(column, shown) {
  const others = new Map();
  for (const at of shown) {
    if (column.values?.[at] === undefined) continue;
    const ignored = new Set([column.key, "settings.Registry name", "settings.Recipe"]); // names of what follows them
    const rest = Object.entries(textsOf(data.rows[at], at)).filter(([key]) => !ignored.has(key)).sort();
    const key = JSON.stringify(rest);
    others.set(key, [...(others.get(key) ?? []), at]);
  }
  const ordered = [...others.values()].map((places) => places.sort((a, b) => column.values[a] - column.values[b]));
  return ordered.filter((places) => new Set(places.map((at) => column.values[at])).size > 1);
}

// The Pareto front of points { at, x, y } by two columns with a better direction, the smallest x first.
function paretoFront(points, x, y) {
  const sign = ({ better }) => (better === "low" ? 1 : -1);
  const [sx, sy] = [sign(x), sign(y)];
  const ordered = [...points].sort((a, b) => sx * (a.x - b.x) || sy * (a.y - b.y));
  const found = [];
  for (const point of ordered) {
    const last = found.at(-1);
    if (!last || sy * (last.y - point.y) > 0 || (last.x === point.x && last.y === point.y)) found.push(point);
  }
  return sx > 0 ? found : found.reverse();
}

// Markers of the same size, as paths around 0, 0.
const corners = (count, turn, far = 1, near = far) => Array.from({ length: count }, (_, at) => {
  const [angle, radius] = [((at / count) * 2 + turn) * Math.PI, at % 2 ? near : far];
  return [radius * Math.sin(angle), -radius * Math.cos(angle)];
});
const PLUS = [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]]
  .map(([x, y]) => [x / 2.7, y / 2.7]);
const SHAPES = {
  s: corners(4, 0.25, 1.2), D: corners(4, 0, 1.25), "^": corners(3, 0, 1.3), v: corners(3, 1, 1.3), "<": corners(3, 1.5, 1.3),
  ">": corners(3, 0.5, 1.3), P: PLUS, X: PLUS.map(([x, y]) => [(x - y) * 0.75, (x + y) * 0.75]), p: corners(5, 0, 1.15), h: corners(6, 0, 1.15),
};

function markerPath(marker, radius) {
  const points = SHAPES[marker]?.map(([x, y]) => `${(radius * x).toFixed(2)} ${(radius * y).toFixed(2)}`);
  return points ? `M${points.join("L")}Z` : `M${-radius} 0A${radius} ${radius} 0 1 1 ${radius} 0A${radius} ${radius} 0 1 1 ${-radius} 0Z`;
}
