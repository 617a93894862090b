// Columns of the figure: what can be an axis or a colour, how its numbers are written; fronts and sweeps.

const SMALLEST_LOG = 5; // log where values span this factor
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
  const values = [...new Set(column.values.filter((value) => value !== undefined))].sort((a, b) => a - b);
  if (column.group !== "Metrics" && values.length <= count + 2) {
    return { values, format: (value) => column.texts?.[column.values.indexOf(value)] ?? String(value) };
  }
  return { values: scale.ticks(count), format: scale.tickFormat(count, COUNTED.has(column.quantity) ? "~s" : undefined) };
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

// A front for every data set, and where a speed is an axis, for every device: [{ name, points }].
function frontsOf(points, x, y) {
  if (x === y || !x.better || !y.better) return [];
  const isOfDevice = (x.timed || y.timed) && new Set(data.rows.map(({ device }) => device)).size > 1;
  const group = ({ at }) => data.rows[at].images + (isOfDevice ? ` · ${data.rows[at].device}` : "");
  return [...Map.groupBy([...points].sort((a, b) => a.at - b.at), group)].map(([name, inside]) => ({ name, points: paretoFront(inside, x, y) }));
}

// A scale on which the values have some room; a single one is in the middle.
function scaleOf(values, isLogarithmic, range) {
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [1, 10];
  const isOne = low === high;
  if (isLogarithmic) {
    const room = isOne ? 2 : (high / low) ** 0.06;
    return d3.scaleLog().domain([low / room, high * room]).range(range);
  }
  const room = isOne ? 1 : (high - low) * 0.06;
  return d3.scaleLinear().domain([low - room, high + room]).range(range);
}

function usualAxes(columns) {
  const has = (key) => columns.some((column) => column.key === key);
  const y = ["top1", "throughput"].find(has) ?? columns[0].key;
  const x = ["throughput", "params", "macs"].find((key) => key !== y && has(key)) ?? columns.find(({ key }) => key !== y).key;
  return { x, y, colour: new Set(data.rows.map(({ images }) => images)).size > 1 ? "images" : "family" };
}
