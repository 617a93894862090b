// Axes with their lines across the drawing, and a frame that clips what is drawn.

const PLOT_MARGIN = { left: 64, right: 16, top: 14, bottom: 46 };

// Left and top, right and bottom of what is inside the axes.
function inner(width, height) {
  const { left, right, top, bottom } = PLOT_MARGIN;
  return [[left, top], [width - right, height - bottom]];
}

// Each axis: { scale, values and format of its ticks, label }.
function drawGrid(grid, width, height, x, y) {
  const [[left, top], [right, bottom]] = inner(width, height);
  grid.selectAll("*").remove();
  for (const [{ scale, values, format }, make, long, at] of [
    [x, d3.axisBottom, top - bottom, `translate(0 ${bottom})`],
    [y, d3.axisLeft, left - right, `translate(${left} 0)`],
  ]) {
    const [low, high] = scale.domain();
    const ticks = values.filter((value) => value >= low && value <= high);
    grid.append("g").attr("transform", at).attr("aria-hidden", "true")
      .call(make(scale).tickValues(ticks).tickFormat(format).tickSize(long).tickPadding(6));
  }
  const label = (text, across, down, turn) => grid.append("text").attr("class", "label").attr("text-anchor", "middle")
    .attr("transform", `translate(${across} ${down}) rotate(${turn})`).text(text);
  label(x.label, (left + right) / 2, height - 8, 0);
  label(y.label, 14, (top + bottom) / 2, -90);
}

function clipTo(svg, id) {
  return svg.append("clipPath").attr("id", id).append("rect");
}

function setFrame(rectangle, width, height) {
  const [[left, top], [right, bottom]] = inner(width, height);
  rectangle.attr("x", left).attr("y", top).attr("width", right - left).attr("height", bottom - top);
}

// A pointer's place in the drawing's own pixels, which on paper or while the window changes are not the screen's.
function placeIn(svg, event) {
  const frame = svg.getBoundingClientRect();
  const scale = svg.viewBox.baseVal.width / frame.width;
  return [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
}

function nearestPoint(points, [x, y], most) {
  return points.reduce((best, point) => {
    const far = Math.hypot(point.px - x, point.py - y);
    return far < best.far ? { far, point } : best;
  }, { far: most }).point;
}

// From a pointer that went down: shows the rectangle that it is dragged over, and calls `chosen` with its corners.
function brush(event, svg, rectangle, chosen) {
  event.preventDefault();
  svg.setPointerCapture(event.pointerId);
  const from = placeIn(svg, event);
  const corners = (moved) => [Math.min, Math.max].map((of) => placeIn(svg, moved).map((value, side) => of(value, from[side])));
  const move = (moved) => {
    const [[x0, y0], [x1, y1]] = corners(moved);
    const box = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    for (const [name, value] of Object.entries(box)) rectangle.setAttribute(name, value);
    rectangle.removeAttribute("hidden");
  };
  const end = (ended) => {
    svg.removeEventListener("pointermove", move);
    rectangle.setAttribute("hidden", "");
    const [[x0, y0], [x1, y1]] = corners(ended);
    if (ended.type === "pointercancel" || Math.hypot(x1 - x0, y1 - y0) < 4) return; // a click
    svg.addEventListener("click", (click) => click.stopImmediatePropagation(), { capture: true, once: true });
    chosen([x0, y0], [x1, y1]);
  };
  svg.addEventListener("pointermove", move);
  for (const kind of ["pointerup", "pointercancel"]) svg.addEventListener(kind, end, { once: true });
}
