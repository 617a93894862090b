// What is drawn of the figure, from back to front: axes, lines, seeds, marks, names.

const MOST_MARKS = 60; // with more of them: small, translucent, and only the front and the selection have names
const LAYERS = ["grid", "lines", "seeds", "marks", "names"];

// { draw: makes the marks, place: puts everything where the scales say, point: marks one row, rectangle of the brush }.
function plotLayers(svg) {
  const [grid, lines, seeds, marks, names] = LAYERS.map((name) => svg.append("g").attr("class", name));
  const rectangle = svg.append("rect").attr("class", "rectangle").attr("hidden", "").node();
  const frame = clipTo(svg, "plot-frame");
  for (const group of [lines, seeds]) group.attr("clip-path", "url(#plot-frame)");

  function draw(drawn) {
    const { x, y, points, width, height } = drawn;
    const isMany = points.length > MOST_MARKS;
    setFrame(frame, width, height);
    svg.attr("viewBox", `0 0 ${width} ${height}`).classed("many", isMany)
      .attr("aria-label", `${y.label} against ${x.label}; arrow keys go from row to row`);
    const focused = document.activeElement?.closest("a.mark")?.dataset.key;
    marks.selectAll("a").remove();
    for (const { at, key } of points) {
      const { colour, marker } = drawn.paint(at);
      const mark = marks.append("a").attr("href", `#row-${key}`).attr("data-key", key).attr("tabindex", -1)
        .attr("class", "mark").classed("hollow", isUnsure(drawn, at)).classed("selected", drawn.selected.has(key))
        .attr("aria-label", spoken(drawn, at)).style("--mark", colour);
      mark.append("path").attr("d", markerPath(marker, isMany ? 4 : 6));
      if (key === focused) mark.node().focus({ preventScroll: true });
    }
  }

  function place(drawn, x, y) {
    const { points, width, height } = drawn;
    const [[left, top], [right, bottom]] = inner(width, height);
    for (const point of points) {
      [point.px, point.py] = [x(point.x), y(point.y)];
      point.isIn = point.px >= left - 1 && point.px <= right + 1 && point.py >= top - 1 && point.py <= bottom + 1;
    }
    const axis = (name, scale, room) => {
      return { scale, ...ticksOf(drawn[name], scale, room), label: drawn[name].label + (drawn.log[name] ? ", log scale" : "") };
    };
    drawGrid(grid, width, height, axis("x", x, width), axis("y", y, height));
    placeLines(drawn, x, y);
    seeds.selectAll("*").remove();
    for (const { at, key, place: [a, b] } of drawn.seeds) {
      seeds.append("circle").attr("cx", x(a)).attr("cy", y(b)).attr("r", 2.5).attr("data-key", key)
        .style("--mark", drawn.paint(at).colour);
    }
    marks.selectAll("a").each(function (_, at) {
      this.setAttribute("transform", `translate(${points[at].px.toFixed(2)} ${points[at].py.toFixed(2)})`);
      this.classList.toggle("out", !points[at].isIn);
    });
    const [stop, visible] = ["a[tabindex='0']", "a:not(.out)"].map((which) => marks.node().querySelector(which));
    if (!stop || stop.classList.contains("out")) {
      stop?.setAttribute("tabindex", "-1");
      visible?.setAttribute("tabindex", "0");
    }
    names.selectAll("*").remove();
    const named = [...new Set([...drawn.first, ...(points.length > MOST_MARKS ? [] : points)])].filter(({ isIn }) => isIn);
    for (const { text, anchor, ...spot } of placeNames(named, points, inner(width, height))) {
      names.append("text").attr("x", spot.x).attr("y", spot.y).attr("text-anchor", anchor).text(text);
    }
  }

  // Rows that differ in one argument, fronts, and intervals of what is on a front or selected.
  function placeLines(drawn, x, y) {
    const path = (kind, steps) => lines.append("path").attr("class", kind).attr("d", polyline(steps));
    lines.selectAll("*").remove();
    for (const each of drawn.joined) path("sweep", each.map((at) => [x(drawn.x.values[at]), y(drawn.y.values[at])]));
    for (const { points } of drawn.fronts) if (points.length > 1) path("front", staircase(points, drawn.x.better));
    for (const { at, px, py, ...point } of drawn.first) {
      const half = data.rows[at].interval;
      for (const [name, scale] of half === null ? [] : [["x", x], ["y", y]]) {
        if (drawn[name].key !== data.metrics[0].key) continue;
        const low = Math.max(point[name] - half, drawn.log[name] ? 1e-3 : -Infinity);
        const ends = [low, point[name] + half].map((end) => (name === "x" ? [scale(end), py] : [px, scale(end)]));
        path("interval", ends).style("--mark", drawn.paint(at).colour);
      }
    }
  }

  function point(key) {
    for (const mark of marks.node().children) mark.classList.toggle("near", mark.dataset.key === key);
  }

  return { draw, place, point, rectangle };
}

function isUnsure({ x, y }, at) {
  return data.rows[at].unsure && (x.timed || y.timed);
}

function spoken({ x, y, selected }, at) {
  const values = [x, y].map((column) => `${uncapital(column.label)} ${valueText(column, at)}`);
  return `${data.rows[at].name}: ${values.join(", ")}${selected.has(data.rows[at].key) ? ", selected" : ""}`;
}

// Round what the points of a front are at least as good as, the smallest x first.
function staircase(points, better) {
  return points.flatMap(({ px, py }, at) => {
    const next = points[at + 1];
    const corner = better === "low" ? [next?.px, py] : [px, next?.py];
    return next ? [[px, py], corner] : [[px, py]];
  });
}

function polyline(places) {
  return `M${places.map((place) => place.map((value) => value.toFixed(1)).join(" ")).join("L")}`;
}
