// Beside the figure: what its colours mean, and all that is known of one row.

const MOST_EXPLAINED = 40; // colours

function showLegend(legend, title, entries) {
  const items = entries.slice(0, MOST_EXPLAINED).map(({ colour, marker, text }) => {
    const mark = element("path", { d: markerPath(marker, 6) });
    const drawing = { viewBox: "-8 -8 16 16", style: `--mark: ${colour}`, "aria-hidden": "true" };
    return element("li", {}, element("svg", drawing, mark), text);
  });
  if (entries.length > items.length) items.push(element("li", {}, `and ${entries.length - items.length} more`));
  legend.replaceChildren(element("li", { class: "head" }, title), ...items);
}

// A row's value of a column as text; of an argument as given: 2/3.
function valueText(column, at) {
  const row = data.rows[at];
  if (row.texts[column.key] !== undefined) return row.texts[column.key];
  const value = column.values[at];
  if (value === undefined) return "–";
  const number = value.toLocaleString("en", { maximumSignificantDigits: 6 });
  return column.texts?.[at] ?? (row.unsure && column.timed ? `≈ ${number}` : number);
}

// The row's name as a link, a button that selects it, and its values, flags, arguments, settings and recipe.
function rowCard(at, columns, axes, toggle) {
  const row = data.rows[at];
  const isSelected = view.selected.includes(row.key);
  const button = element("button", { type: "button", "aria-pressed": String(isSelected) }, isSelected ? "Selected" : "Select");
  button.addEventListener("click", toggle);
  const others = columns.filter(({ key }) => row.values[key] !== undefined);
  const facts = [
    ...[...new Set([...axes, ...others])].map((column) => [column.label, valueText(column, at)]),
    ["Flags", row.flags.join(", ")],
    ["Family", row.family],
    ["Dataset", row.images],
    ["Device", row.device],
    ...Object.entries(row.arguments),
    ...Object.entries(row.settings),
    ...Object.entries({ ...data.recipe, ...data.sides[at].recipe }).map(([key, text]) => [`recipe: ${key}`, text]),
  ].filter(([, text]) => text);
  return [
    element("p", { class: "head" }, element("a", { class: "ref", href: `#row-${row.key}`, "data-row": row.key }, row.name)),
    element("p", {}, button, " ", element("a", { href: `#${row.anchor}` }, "Trials and layers")),
    element("dl", {}, ...facts.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", {}, text)))),
  ];
}

// How many rows are drawn, why others are not, and what the lines mean.
function inWords({ x, y, points, why, fronts, joined, first }, colour) {
  const out = points.filter(({ isIn }) => !isIn).length;
  const parts = out ? [...why, `${out} outside this part of the figure`] : why;
  const ranked = [x, y].some(({ key }) => key === data.metrics[0].key);
  const groups = fronts.length > 1 ? ` of each of ${fronts.map(({ name }) => name).join("; ")}` : "";
  return [
    `${points.length - out} of ${data.rows.length} rows${parts.length ? `: ${parts.join(", ")}` : ""}.`,
    fronts.length ? `Dashed: the Pareto front${groups}.` : "",
    joined.length ? `Lines join rows that differ in ${uncapital(colour)} alone.` : "",
    ranked && first.some(({ at }) => data.rows[at].interval !== null) ? "Bars: 95 % intervals, of the front and the selection." : "",
    points.some(({ at }) => isUnsure({ x, y }, at)) ? "Hollow: a flag casts doubt on the speed." : "",
  ].filter(Boolean).join(" ");
}
