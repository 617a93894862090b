// The figure: any column against any other, zoomed, brushed, coloured.  It shows the rows that the board's filter shows.

const MOST_MARKS = 60; // with more of them: small, translucent, and only the front and the selection have names
const NEAR = 30; // pixels from a mark within which it is pointed at
const PLOT_MARGIN = { left: 64, right: 16, top: 14, bottom: 46 };

function plot(section) {
  const columns = numericColumns();
  if (!section || columns.length < 2) return;
  const colours = colourColumns(columns);
  for (const column of columns) column.texts = colours.find(({ key }) => key === column.key)?.texts;
  const [quality] = data.metrics;
  const places = new Map(data.rows.map((row, at) => [row.key, at]));
  const form = section.querySelector("form");
  const fields = form.elements;
  const [legend, card, said] = [".legend", ".card", "output"].map((name) => section.querySelector(name));
  const curves = learningCurves(document.getElementById("curves"));
  const usual = usualChoice();
  const svg = d3.select(section.querySelector(".drawn")).append("svg").attr("class", "plot").attr("role", "group");
  const [grid, lines, dots, marks, names] = ["grid", "lines", "dots", "marks", "names"].map((name) => svg.append("g").attr("class", name));
  const box = svg.append("rect").attr("class", "rectangle").attr("hidden", "");
  let [width, height] = [0, 0];
  let drawn = {}; // what is drawn now: { x, y: columns, scaleX, scaleY: not zoomed, points, fronts, paint, joined }
  let zoomed = d3.zoomIdentity;
  let pinned = null;
  let due = 0;

  const zoom = d3.zoom().scaleExtent([1, 200])
    .filter((event) => {
      if (event.type === "wheel") return event.ctrlKey || event.metaKey;
      if (event.type.startsWith("touch")) return event.touches.length > 1;
      return !event.button && !selects(event);
    })
    .wheelDelta((event) => -event.deltaY * (event.deltaMode === 1 ? 0.05 : Math.abs(event.deltaY) < 50 ? 0.02 : 0.002))
    .on("zoom", ({ transform }) => {
      zoomed = transform;
      place();
    });
  const frame = svg.append("clipPath").attr("id", "plot-frame").append("rect");
  for (const group of [lines, dots]) group.attr("clip-path", "url(#plot-frame)");
  svg.call(zoom).on("dblclick.zoom", null);

  function usualChoice() {
    const has = (key) => columns.some((column) => column.key === key);
    const y = ["top1", "throughput"].find(has) ?? columns[0].key;
    const x = ["throughput", "params", "macs"].find((key) => key !== y && has(key)) ?? columns.find(({ key }) => key !== y).key;
    return { x, y, colour: new Set(data.rows.map(({ images }) => images)).size > 1 ? "images" : "family" };
  }

  function selects(event) {
    return event.shiftKey || fields.select.getAttribute("aria-pressed") === "true";
  }

  function offer(select, choices) {
    const groups = Map.groupBy(choices, ({ group }) => group);
    select.append(...[...groups].map(([label, inside]) => {
      return element("optgroup", { label }, ...inside.map(({ key, label: text }) => element("option", { value: key }, text)));
    }));
  }

  function chosen(name) {
    return (name === "colour" ? colours : columns).find(({ key }) => key === fields[name].value);
  }

  function isLogarithmic(name) {
    return fields[`log${name}`].checked;
  }

  // The rows as points, and in words those that are not drawn.
  function pointsOf(x, y) {
    const shown = view.shown.map((key) => places.get(key));
    const why = [];
    if (shown.length < data.rows.length) why.push(`${data.rows.length - shown.length} hidden by the board's filter`);
    const lacks = [["x", x], ["y", y]].map(([name, column]) => ({
      column, log: isLogarithmic(name), has: (at) => column.values[at] !== undefined && (!isLogarithmic(name) || column.values[at] > 0),
    }));
    for (const { column, log, has } of lacks.slice(0, x === y ? 1 : 2)) {
      const count = shown.filter((at) => !has(at)).length;
      if (count) why.push(`${count} without ${log ? "a positive " : ""}${column.label.replace(/^[A-Z](?![A-Z])/, (letter) => letter.toLowerCase())}`);
    }
    const points = shown.filter((at) => lacks.every(({ has }) => has(at)))
      .map((at) => ({ at, key: data.rows[at].key, x: x.values[at], y: y.values[at] }));
    points.sort((a, b) => a.x - b.x || a.y - b.y);
    return { points, why };
  }

  function seedsOf({ at, x, y }) {
    const [xs, ys] = [drawn.x, drawn.y].map(({ key }) => data.ofSeeds[at][key]);
    const pairs = (xs ?? ys ?? []).map((_, seed) => [xs?.[seed] ?? x, ys?.[seed] ?? y]);
    return pairs.filter(([a, b]) => (a > 0 || !isLogarithmic("x")) && (b > 0 || !isLogarithmic("y")));
  }

  function withSeeds() {
    return drawn.points.filter(({ key }) => fields.seeds.checked || view.selected.includes(key));
  }

  function scale(name, values, range) {
    const log = isLogarithmic(name);
    const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [1, 10];
    const room = log ? (high / low) ** 0.06 : (high - low) * 0.06;
    const none = low === high; // a single value: the middle of the axis
    const domain = log ? [low / (none ? 2 : room), high * (none ? 2 : room)] : [low - (none ? 1 : room), high + (none ? 1 : room)];
    return (log ? d3.scaleLog() : d3.scaleLinear()).domain(domain).range(range);
  }

  // A front for every data set, and where a speed is an axis, for every device.
  function frontsOf(points, x, y) {
    if (x === y || !x.better || !y.better) return [];
    const group = ({ at }) => data.rows[at].images + (x.timed || y.timed ? ` · ${data.rows[at].device}` : "");
    return [...Map.groupBy(points, group)].map(([name, inside]) => ({ name, points: paretoFront(inside, x, y) }));
  }

  function draw() {
    due = 0;
    width = section.querySelector(".drawn").clientWidth;
    if (!width) return;
    height = Math.round(Math.max(320, Math.min(540, width * 0.62)));
    const [x, y] = [chosen("x"), chosen("y")];
    const { points, why } = pointsOf(x, y);
    const painted = painting(chosen("colour"), points.map(({ at }) => at));
    drawn = { x, y, points, why, paint: painted.paint, fronts: frontsOf(points, x, y), joined: sweeps(chosen("colour"), points.map(({ at }) => at)) };
    const { left, right, top, bottom } = PLOT_MARGIN;
    const seeds = withSeeds().flatMap(seedsOf);
    drawn.scaleX = scale("x", [...points.map((point) => point.x), ...seeds.map(([a]) => a)], [left, width - right]);
    drawn.scaleY = scale("y", [...points.map((point) => point.y), ...seeds.map(([, b]) => b)], [height - bottom, top]);
    const corners = [[left, top], [width - right, height - bottom]];
    zoom.extent(corners).translateExtent(corners);
    frame.attr("x", left).attr("y", top).attr("width", width - left - right).attr("height", height - top - bottom);
    svg.attr("viewBox", `0 0 ${width} ${height}`).attr("aria-label", `${y.label} against ${x.label}; arrow keys go from row to row`)
      .classed("many", points.length > MOST_MARKS);
    drawMarks();
    place();
    showLegend(painted.legend);
    showCard(pinned);
    curves(painted.paint);
  }

  function drawMarks() {
    const focused = document.activeElement?.closest?.("a.mark")?.getAttribute("data-key");
    const radius = drawn.points.length > MOST_MARKS ? 4 : 6;
    marks.selectAll("a").remove();
    for (const { at, key } of drawn.points) {
      const row = data.rows[at];
      const { colour, marker } = drawn.paint(at);
      const unsure = row.unsure && (drawn.x.timed || drawn.y.timed);
      const isSelected = view.selected.includes(key);
      const label = `${row.name}: ${[drawn.x, drawn.y].map((column) => `${column.label} ${valueText(column, at)}`).join(", ")}${isSelected ? ", selected" : ""}`;
      marks.append("a").attr("class", `mark${unsure ? " hollow" : ""}${isSelected ? " selected" : ""}`).attr("href", `#row-${key}`)
        .attr("data-key", key).attr("aria-label", label).attr("tabindex", -1).style("--mark", colour)
        .append("path").attr("d", markerPath(marker, radius));
    }
    if (focused) marks.selectAll("a").filter(function () { return this.dataset.key === focused; }).node()?.focus({ preventScroll: true });
  }

  // Everything to its place in the part that is zoomed into.
  function place() {
    const [x, y] = [zoomed.rescaleX(drawn.scaleX), zoomed.rescaleY(drawn.scaleY)];
    const { left, right, top, bottom } = PLOT_MARGIN;
    const inside = ([px, py]) => px >= left - 1 && px <= width - right + 1 && py >= top - 1 && py <= height - bottom + 1;
    for (const point of drawn.points) [point.px, point.py, point.isIn] = [x(point.x), y(point.y), inside([x(point.x), y(point.y)])];
    drawAxes(x, y);
    lines.selectAll("*").remove();
    dots.selectAll("*").remove();
    const path = (kind, steps) => lines.append("path").attr("class", kind).attr("d", `M${steps.map((step) => step.map((value) => value.toFixed(1)).join(" ")).join("L")}`);
    for (const each of drawn.joined) path("sweep", each.map((at) => [x(drawn.x.values[at]), y(drawn.y.values[at])]));
    for (const front of drawn.fronts) {
      const steps = front.points.flatMap((point, at) => {
        const next = front.points[at + 1];
        const corner = next && (drawn.x.better === "low" ? [next.px, point.py] : [point.px, next.py]);
        return corner ? [[point.px, point.py], corner] : [[point.px, point.py]];
      });
      if (steps.length > 1) path("front", steps);
    }
    for (const point of ofInterest()) {
      const half = data.rows[point.at].interval;
      if (half === null) continue;
      const ends = (value, axis) => [value - half, value + half].map((end) => axis(isLogarithmic(axis === x ? "x" : "y") ? Math.max(end, 1e-9) : end));
      if (drawn.y.key === quality.key) path("interval", ends(point.y, y).map((end) => [point.px, end])).style("--mark", drawn.paint(point.at).colour);
      if (drawn.x.key === quality.key) path("interval", ends(point.x, x).map((end) => [end, point.py])).style("--mark", drawn.paint(point.at).colour);
    }
    for (const point of withSeeds()) {
      for (const [a, b] of seedsOf(point)) {
        if (inside([x(a), y(b)])) dots.append("circle").attr("cx", x(a)).attr("cy", y(b)).attr("r", 2.5).attr("data-key", point.key).style("--mark", drawn.paint(point.at).colour);
      }
    }
    marks.selectAll("a").each(function (_, at) {
      const point = drawn.points[at];
      this.setAttribute("transform", `translate(${point.px.toFixed(2)} ${point.py.toFixed(2)})`);
      this.classList.toggle("out", !point.isIn);
    });
    const stop = marks.node().querySelector("a[tabindex='0']:not(.out)") ?? marks.node().querySelector("a:not(.out)");
    for (const each of marks.node().querySelectorAll("a[tabindex='0']")) each.setAttribute("tabindex", "-1");
    stop?.setAttribute("tabindex", "0");
    drawNames();
    say();
  }

  function ofInterest() {
    const front = new Set(drawn.fronts.flatMap(({ points }) => points));
    return drawn.points.filter((point) => front.has(point) || view.selected.includes(point.key));
  }

  function drawAxes(x, y) {
    const { left, right, top, bottom } = PLOT_MARGIN;
    grid.selectAll("*").remove();
    for (const [column, scaled, make, long, at] of [
      [drawn.x, x, d3.axisBottom, top + bottom - height, `translate(0 ${height - bottom})`],
      [drawn.y, y, d3.axisLeft, left + right - width, `translate(${left} 0)`],
    ]) {
      const { values, format } = ticksOf(column, scaled, column === drawn.x ? width : height);
      const [low, high] = scaled.domain();
      const ticks = values.filter((value) => value >= low && value <= high);
      grid.append("g").attr("transform", at).attr("aria-hidden", "true").call(make(scaled).tickValues(ticks).tickFormat(format).tickSize(long).tickPadding(6));
    }
    const label = (text, across, down, turn = 0) => grid.append("text").attr("class", "label").attr("text-anchor", "middle")
      .attr("transform", `translate(${across} ${down}) rotate(${turn})`).text(text);
    label(drawn.x.label + (isLogarithmic("x") ? ", log scale" : ""), (left + width - right) / 2, height - 8);
    label(drawn.y.label + (isLogarithmic("y") ? ", log scale" : ""), 14, (top + height - bottom) / 2, -90);
  }

  // Names where there is room beside the mark, first of the selection and the front.
  function drawNames() {
    names.selectAll("*").remove();
    const first = ofInterest();
    const rest = drawn.points.length > MOST_MARKS ? [] : drawn.points.filter((point) => !first.includes(point));
    const taken = drawn.points.filter(({ isIn }) => isIn).map(({ px, py }) => [px - 5, py - 5, px + 5, py + 5]);
    const isFree = ([x0, y0, x1, y1]) => x0 > PLOT_MARGIN.left && x1 < width - 2 && y0 > 0 && y1 < height - PLOT_MARGIN.bottom
      && taken.every(([a0, b0, a1, b1]) => x1 < a0 || x0 > a1 || y1 < b0 || y0 > b1);
    const chosenFirst = [...first.filter(({ key }) => view.selected.includes(key)), ...first.filter(({ key }) => !view.selected.includes(key)), ...rest];
    for (const { at, px, py, isIn } of chosenFirst) {
      if (!isIn) continue;
      const { label } = data.rows[at];
      const text = label.length > 28 ? `${label.slice(0, 27)}…` : label;
      const wide = text.length * 6.2;
      const spots = [[9, 4, "start", 0], [-9, 4, "end", -wide], [0, -10, "middle", -wide / 2], [0, 18, "middle", -wide / 2]];
      for (const [dx, dy, anchor, from] of spots) {
        const space = [px + dx + from, py + dy - 10, px + dx + from + wide, py + dy + 3];
        if (!isFree(space)) continue;
        taken.push(space);
        names.append("text").attr("x", px + dx).attr("y", py + dy).attr("text-anchor", anchor).text(text);
        break;
      }
    }
  }

  function valueText(column, at) {
    const row = data.rows[at];
    if (row.texts[column.key] !== undefined) return row.texts[column.key];
    const value = column.values[at];
    if (value === undefined) return "–";
    return column.texts?.[at] ?? `${row.unsure && column.timed ? "≈ " : ""}${value.toLocaleString("en", { maximumSignificantDigits: 6 })}`;
  }

  function say() {
    const { points, why } = drawn;
    const out = points.filter(({ isIn }) => !isIn).length;
    const parts = out ? [...why, `${out} outside this part of the figure`] : why;
    const count = `${points.length - out} of ${data.rows.length} rows${parts.length ? `: ${parts.join(", ")}` : ""}.`;
    const fronts = drawn.fronts.length ? ` Dashed: the Pareto front${drawn.fronts.length > 1 ? ` of each of ${drawn.fronts.map(({ name }) => name).join("; ")}` : ""}.` : "";
    const joined = drawn.joined.length ? ` Lines join rows that differ in ${chosen("colour").label} alone.` : "";
    const hollow = points.some(({ at }) => data.rows[at].unsure) && (drawn.x.timed || drawn.y.timed) ? " Hollow: a flag casts doubt on the speed." : "";
    const bars = points.length && [drawn.x, drawn.y].some(({ key }) => key === quality.key) ? " Bars: 95 % intervals, of the front and the selection." : "";
    said.textContent = count + fronts + joined + bars + hollow;
  }

  function showLegend(entries) {
    const most = 24;
    const items = entries.slice(0, most).map(({ colour, marker, text }) => element("li", {},
      element("svg", { viewBox: "-8 -8 16 16", style: `--mark: ${colour}`, "aria-hidden": "true" }, element("path", { d: markerPath(marker, 6) })), text));
    if (entries.length > most) items.push(element("li", {}, `and ${entries.length - most} more`));
    legend.replaceChildren(element("li", { class: "head" }, chosen("colour").label), ...items);
  }

  function showCard(at) {
    for (const each of marks.node().children) each.classList.toggle("near", at !== null && each.dataset.key === data.rows[at].key);
    if (at === null) return card.replaceChildren(element("p", { class: "muted" }, "Point at a mark, or tap it, to read all of its row."));
    const row = data.rows[at];
    const isSelected = view.selected.includes(row.key);
    const select = element("button", { type: "button", "aria-pressed": String(isSelected) }, isSelected ? "Selected" : "Select");
    select.addEventListener("click", () => toggle(row.key));
    const axes = [...new Set([drawn.x, drawn.y])];
    const others = columns.filter((column) => !axes.includes(column) && data.metrics.some(({ key }) => key === column.key) && column.values[at] !== undefined);
    const facts = [
      ...[...axes, ...others].map((column) => [column.label, valueText(column, at)]),
      ["Family", row.family], ["Dataset", row.images], ...(row.device ? [["Device", row.device]] : []),
      ...(row.flags.length ? [["Flags", row.flags.join(", ")]] : []),
      ...Object.entries(row.arguments),
      ...Object.entries(row.settings).filter(([, text]) => text), ...Object.entries(data.sides[at].recipe).map(([key, text]) => [`recipe: ${key}`, text]),
    ];
    card.replaceChildren(
      element("p", { class: "head" }, element("a", { class: "ref", href: `#row-${row.key}`, "data-row": row.key }, row.name)),
      element("p", {}, select, " ", element("a", { href: `#${row.anchor}` }, "Trials and layers")),
      element("dl", {}, ...facts.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", {}, text)))),
    );
  }

  function toggle(key) {
    set("selected", view.selected.includes(key) ? view.selected.filter((each) => each !== key) : [...view.selected, key]);
  }

  function nearest(event) {
    const [x, y] = at(event);
    const near = drawn.points.filter(({ isIn }) => isIn).map((point) => ({ point, far: Math.hypot(point.px - x, point.py - y) }));
    const best = near.reduce((found, each) => (each.far < found.far ? each : found), { far: NEAR });
    return best.point?.at ?? null;
  }

  // A pointer's place in the drawing's own pixels, which on paper or while the window changes are not the screen's.
  function at(event) {
    const { left, top, width: wide } = svg.node().getBoundingClientRect();
    return [event.clientX - left, event.clientY - top].map((value) => (value * width) / wide);
  }

  function brush(event) {
    if (event.button || !selects(event)) return;
    event.preventDefault();
    const [from, node] = [at(event), svg.node()];
    node.setPointerCapture(event.pointerId);
    const corners = (to) => [0, 1].map((side) => [Math.min(from[side], to[side]), Math.max(from[side], to[side])]);
    const move = (moved) => {
      const [[x0, x1], [y0, y1]] = corners(at(moved));
      box.attr("hidden", null).attr("x", x0).attr("y", y0).attr("width", x1 - x0).attr("height", y1 - y0);
    };
    const end = (ended) => {
      node.removeEventListener("pointermove", move);
      box.attr("hidden", "");
      const [[x0, x1], [y0, y1]] = corners(at(ended));
      if (ended.type === "pointercancel" || Math.hypot(x1 - x0, y1 - y0) < 4) return;
      node.addEventListener("click", (click) => click.stopImmediatePropagation(), { capture: true, once: true });
      set("selected", drawn.points.filter(({ px, py, isIn }) => isIn && px >= x0 && px <= x1 && py >= y0 && py <= y1).map(({ key }) => key));
    };
    node.addEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) node.addEventListener(kind, end, { once: true });
  }

  function later() {
    due ||= requestAnimationFrame(draw);
  }

  function changed() {
    later();
    remember("figures");
  }

  function setField(name, value) {
    const known = [...fields[name].options].some((option) => option.value === value);
    fields[name].value = known ? value : usual[name];
    if (name !== "colour") fields[`log${name}`].checked = spansDecades(chosen(name));
  }

  for (const name of ["x", "y"]) offer(fields[name], columns);
  offer(fields.colour, colours);
  svg.on("pointerdown", brush)
    .on("dragstart", (event) => event.preventDefault())
    .on("pointermove", (event) => { 
      const near = event.pointerType === "touch" || event.buttons || pinned !== null ? null : nearest(event);
      if (near !== null) showCard(near);
    })
    .on("click", (event) => {
      const mark = event.target.closest("a.mark");
      if (mark) event.preventDefault();
      if (mark && event.detail === 0) return void card.querySelector("a").click(); // by the keyboard: to its row
      pinned = nearest(event);
      showCard(pinned);
    })
    .on("focusin", (event) => { if (event.target.matches("a.mark:focus-visible")) showCard(places.get(event.target.dataset.key)); })
    .on("keydown", (event) => {
      const key = event.target.closest("a.mark")?.dataset.key;
      if (event.key === "Escape") showCard(pinned = null);
      if (event.key !== " " || !key) return;
      event.preventDefault();
      toggle(key);
    });
  roving(svg.node(), "a.mark:not(.out)", "");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    if (target.name === "x" || target.name === "y") {
      fields[`log${target.name}`].checked = spansDecades(chosen(target.name));
      zoom.transform(svg, d3.zoomIdentity);
    } else if (target.name.startsWith("log")) zoom.transform(svg, d3.zoomIdentity);
    changed();
  });
  form.addEventListener("click", ({ target: { value, ariaPressed } }) => {
    if (value === "in" || value === "out") zoom.scaleBy(svg, value === "in" ? 1.6 : 1 / 1.6);
    if (value === "reset") zoom.transform(svg, d3.zoomIdentity);
    if (value === "select") {
      fields.select.setAttribute("aria-pressed", String(ariaPressed !== "true"));
      svg.classed("selecting", ariaPressed !== "true");
    }
  });
  keepInAddress({
    write(address) {
      for (const name of ["x", "y", "colour"]) if (fields[name].value !== usual[name]) address.set(name, fields[name].value);
      for (const name of ["x", "y"]) if (isLogarithmic(name) !== spansDecades(chosen(name))) address.set(`log${name}`, Number(isLogarithmic(name)));
      if (fields.seeds.checked) address.set("seeds", 1);
    },
    read(address) {
      for (const name of ["x", "y", "colour"]) setField(name, address.get(name));
      for (const name of ["x", "y"]) if (address.has(`log${name}`)) fields[`log${name}`].checked = address.get(`log${name}`) === "1";
      fields.seeds.checked = address.get("seeds") === "1";
      later();
    },
  });
  for (const what of ["shown", "selected"]) on(what, later);
  section.hidden = false;
  new ResizeObserver(later).observe(section.querySelector(".drawn"));
}
