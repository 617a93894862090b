// Marks: their colours, shapes and names.

const MOST_LISTED = 10; // values of a column of numbers that have a colour each
const LONGEST_NAME = 28;

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
      const look = value === undefined ? none : { colour: shade(share(value)), text: column.texts[at] };
      return { ...look, marker: marker(at) };
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

// Markers of the same size, as paths around 0, 0.
const corners = (count, turn, radius) => Array.from({ length: count }, (_, at) => {
  const angle = ((at / count) * 2 + turn) * Math.PI;
  return [radius * Math.sin(angle), -radius * Math.cos(angle)];
});
const PLUS = [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]]
  .map(([x, y]) => [x / 2.7, y / 2.7]);
const SHAPES = {
  s: corners(4, 0.25, 1.2), D: corners(4, 0, 1.25), p: corners(5, 0, 1.15), h: corners(6, 0, 1.15),
  "^": corners(3, 0, 1.3), v: corners(3, 1, 1.3), "<": corners(3, 1.5, 1.3), ">": corners(3, 0.5, 1.3),
  P: PLUS, X: PLUS.map(([x, y]) => [(x - y) * 0.75, (x + y) * 0.75]),
};

function markerPath(marker, radius) {
  const points = SHAPES[marker]?.map(([x, y]) => `${(radius * x).toFixed(2)} ${(radius * y).toFixed(2)}`);
  const half = (to) => `A${radius} ${radius} 0 1 1 ${to} 0`;
  return points ? `M${points.join("L")}Z` : `M${-radius} 0${half(radius)}${half(-radius)}Z`;
}

// Where the names of points { at, px, py } have room beside all marks: those that come first are served first.
function placeNames(named, points, [[left], [right, bottom]]) {
  const taken = points.filter(({ isIn }) => isIn).map(({ px, py }) => [px - 5, py - 5, px + 5, py + 5]);
  const isFree = ([x0, y0, x1, y1]) => x0 > left && x1 < right + 14 && y0 > 0 && y1 < bottom
    && taken.every(([a0, b0, a1, b1]) => x1 < a0 || x0 > a1 || y1 < b0 || y0 > b1);
  return named.flatMap(({ at, px, py }) => {
    const { label } = data.rows[at];
    const text = label.length > LONGEST_NAME ? `${label.slice(0, LONGEST_NAME - 1)}…` : label;
    const wide = text.length * 6.2;
    const spots = [[9, 4, "start", 0], [-9, 4, "end", -wide], [0, -10, "middle", -wide / 2], [0, 18, "middle", -wide / 2]];
    for (const [dx, dy, anchor, from] of spots) {
      const [x, y] = [px + dx, py + dy];
      const space = [x + from, y - 10, x + from + wide, y + 3];
      if (!isFree(space)) continue;
      taken.push(space);
      return [{ x, y, anchor, text }];
    }
    return [];
  });
}
