// Drawings of two rows over each other: curves of every seed, histograms, and a line between two percentages.

const DRAWN = new Set(["svg", "line", "path", "circle", "rect", "text"]);

function element(tag, attributes, ...inside) {
  const space = DRAWN.has(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const made = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

// A figure of two rows' lines, each a list of [x, y]: A's solid, B's dashed.
function overlaid(caption, unit, [a, b], fromZero = false) {
  const [width, height, left, top] = [360, 180, 48, 8];
  const [wide, tall] = [width - left - 12, height - top - 24];
  const points = [...a, ...b].flat();
  const [xs, ys] = [0, 1].map((at) => points.map((point) => point[at]));
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const [least, most] = [fromZero ? 0 : Math.min(...ys), Math.max(...ys)];
  const x = (value) => left + (wide * (value - low)) / (high - low || 1);
  const y = (value) => top + tall - (tall * (value - least)) / (most - least || 1);
  const drawing = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" },
    element("line", { x1: left, x2: width - 12, y1: top + tall, y2: top + tall }),
    element("line", { x1: left, x2: left, y1: top, y2: top + tall }));
  for (const [lines, side] of [[a, "side-a"], [b, "side-b"]]) {
    for (const line of lines) {
      const path = line.map((point) => `${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`);
      drawing.append(element("path", { class: side, d: `M${path.join("L")}` }));
    }
  }
  const label = (text, down, across, anchor) => {
    drawing.append(element("text", { x: across, y: down, "text-anchor": anchor }, text));
  };
  label(threeDigits(most), top + 8, left - 5, "end");
  label(threeDigits(least), top + tall, left - 5, "end");
  label(threeDigits(low), top + tall + 16, left, "start");
  label(unit, top + tall + 16, left + wide / 2, "middle");
  label(threeDigits(high), top + tall + 16, width - 12, "end");
  const ends = [a, b].map((lines) => lines.map((line) => threeDigits(line.at(-1)[1])).join(", "));
  const range = `${threeDigits(low)} to ${threeDigits(high)} ${unit}`;
  drawing.setAttribute("aria-label", `${caption}: ${fromZero ? range : `A ends at ${ends[0]}, B at ${ends[1]}`}`);
  return element("figure", {}, drawing, element("figcaption", {}, caption));
}

// Both rows' samples in the same bins, as outlines: % of the row's samples in each.
function histograms(a, b, bins = 24) {
  const low = Math.min(...a, ...b);
  const width = (Math.max(...a, ...b) - low) / bins || low / 1000 || 1; // equal samples: one bin
  return [a, b].map((samples) => {
    const counts = new Array(bins).fill(0);
    for (const sample of samples) {
      counts[Math.min(bins - 1, Math.floor((sample - low) / width))] += 100 / samples.length;
    }
    const steps = counts.flatMap((count, at) => [[low + at * width, count], [low + (at + 1) * width, count]]);
    return [[[low, 0], ...steps, [low + bins * width, 0]]];
  });
}

// Two percentages on a line from `low` to 100: A a dot, B a square.
function dumbbell(a, b, low) {
  const [x, y] = [a, b].map((value) => 4 + (100 * (value - low)) / (100 - low));
  return element("svg", { class: "dumbbell", viewBox: "0 0 108 12", "aria-hidden": "true" },
    element("line", { x1: x, x2: y, y1: 6, y2: 6 }),
    element("rect", { class: "side-b", x: y - 4, y: 2, width: 8, height: 8 }),
    element("circle", { class: "side-a", cx: x, cy: 6, r: 4 }));
}

function threeDigits(number) {
  return number.toLocaleString("en", { maximumSignificantDigits: 3 });
}
