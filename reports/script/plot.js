// The figure: any column against any other, zoomed, brushed, coloured.  It shows the rows that the board's filter shows.

const NEAR = 30; // pixels from a mark within which it is pointed at

function plot(section) {
  const columns = numericColumns();
  if (!section || columns.length < 2) return;
  const colours = colourColumns(columns);
  for (const column of columns) column.texts = colours.find(({ key }) => key === column.key)?.texts;
  const places = new Map(data.rows.map((row, at) => [row.key, at]));
  const form = section.querySelector("form");
  const fields = form.elements;
  const [holder, legend, card, said] = [".drawn", ".legend", ".card", "output"].map((name) => section.querySelector(name));
  const curves = learningCurves(document.getElementById("curves"));
  const usual = usualAxes(columns);
  const svg = d3.select(holder).append("svg").attr("class", "plot").attr("role", "group");
  const layers = plotLayers(svg);
  let drawn = { points: [] }; // what is drawn now, see draw
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
  svg.call(zoom).on("dblclick.zoom", null);

  function selects(event) {
    return event.shiftKey || fields.select.getAttribute("aria-pressed") === "true";
  }

  function offer(field, choices) {
    const groups = [...Map.groupBy(choices, ({ group }) => group)];
    const option = ({ key, label }) => element("option", { value: key }, label);
    field.append(...groups.map(([label, inside]) => element("optgroup", { label }, ...inside.map(option))));
  }

  function chosen(name) {
    return (name === "colour" ? colours : columns).find(({ key }) => key === fields[name].value);
  }

  function isLogarithmic(name) {
    return fields[`log${name}`].checked;
  }

  // The rows as points, from left to right, and in words those that are not drawn.
  function pointsOf(x, y) {
    const shown = view.shown.map((key) => places.get(key));
    const hidden = data.rows.length - shown.length;
    const why = hidden ? [`${hidden} hidden by the board's filter`] : [];
    const needed = [["x", x], ["y", y]].map(([name, column]) => {
      const log = isLogarithmic(name);
      return { column, log, has: (at) => column.values[at] !== undefined && (!log || column.values[at] > 0) };
    });
    for (const { column, log, has } of needed.slice(0, x === y ? 1 : 2)) {
      const count = shown.filter((at) => !has(at)).length;
      if (count) why.push(`${count} without ${log ? "a positive " : ""}${uncapital(column.label)}`);
    }
    const points = shown.filter((at) => needed.every(({ has }) => has(at)))
      .map((at) => ({ at, key: data.rows[at].key, x: x.values[at], y: y.values[at] }));
    return { points: points.sort((a, b) => a.x - b.x || a.y - b.y), why };
  }

  // A row's seeds as [x, y]; one that does not vary over seeds is that of the row.
  function seedsOf({ at, x, y }) {
    const [xs, ys] = ["x", "y"].map((name) => data.ofSeeds[at][chosen(name).key]);
    const pairs = (xs ?? ys ?? []).map((_, seed) => [xs?.[seed] ?? x, ys?.[seed] ?? y]);
    return pairs.filter(([a, b]) => (a > 0 || !isLogarithmic("x")) && (b > 0 || !isLogarithmic("y")));
  }

  function draw() {
    due = 0;
    const width = holder.clientWidth;
    if (!width) return;
    const height = Math.round(Math.max(320, Math.min(540, width * 0.62)));
    const [x, y, colour] = ["x", "y", "colour"].map(chosen);
    const { points, why } = pointsOf(x, y);
    const shown = points.map(({ at }) => at);
    const { paint, legend: entries } = painting(colour, shown);
    const selected = new Set(view.selected);
    const fronts = frontsOf(points, x, y);
    const withSeeds = points.filter(({ key }) => fields.seeds.checked || selected.has(key));
    const seeds = withSeeds.flatMap(({ at, key, ...of }) => seedsOf({ at, ...of }).map((place) => ({ at, key, place })));
    const [[left, top], [right, bottom]] = inner(width, height);
    const all = [...points.map((point) => [point.x, point.y]), ...(fields.seeds.checked ? seeds.map(({ place: spot }) => spot) : [])];
    drawn = {
      x, y, points, why, paint, fronts, seeds, selected, width, height,
      log: { x: isLogarithmic("x"), y: isLogarithmic("y") },
      joined: sweeps(colour, shown),
      first: [...new Set([...points.filter(({ key }) => selected.has(key)), ...fronts.flatMap((front) => front.points)])],
      scaleX: scaleOf(all.map(([a]) => a), isLogarithmic("x"), [left, right]),
      scaleY: scaleOf(all.map(([, b]) => b), isLogarithmic("y"), [bottom, top]),
    };
    zoom.extent([[left, top], [right, bottom]]).translateExtent([[left, top], [right, bottom]]);
    layers.draw(drawn);
    place();
    showLegend(legend, colour.label, entries);
    showCard(pinned);
    curves(paint);
  }

  function place() {
    if (!drawn.width) return;
    layers.place(drawn, zoomed.rescaleX(drawn.scaleX), zoomed.rescaleY(drawn.scaleY));
    said.textContent = inWords(drawn, chosen("colour").label);
  }

  // A mark and its row on the board.
  function light(key) {
    layers.point(key);
    document.querySelector("tr.near")?.classList.remove("near");
    document.getElementById(`row-${key}`)?.classList.add("near");
  }

  function showCard(at) {
    light(at === null ? null : data.rows[at].key);
    if (at !== null) return card.replaceChildren(...rowCard(at, columns, [drawn.x, drawn.y], () => toggle(data.rows[at].key)));
    card.replaceChildren(element("p", { class: "muted" }, "Point at a mark, or tap it, to read all of its row."));
  }

  // Those inside a rectangle.
  function select([x0, y0], [x1, y1]) {
    const inside = drawn.points.filter(({ px, py, isIn }) => isIn && px >= x0 && px <= x1 && py >= y0 && py <= y1);
    set("selected", inside.map(({ key }) => key));
  }

  function toggle(key) {
    set("selected", view.selected.includes(key) ? view.selected.filter((each) => each !== key) : [...view.selected, key]);
  }

  function nearest(event) {
    return nearestPoint(drawn.points.filter(({ isIn }) => isIn), placeIn(svg.node(), event), NEAR)?.at ?? null;
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
  svg.on("pointerdown", (event) => {
    if (!event.button && selects(event)) brush(event, svg.node(), layers.rectangle, select);
  })
    .on("dragstart", (event) => event.preventDefault())
    .on("pointermove", (event) => {
      const near = event.pointerType === "touch" || event.buttons || pinned !== null ? null : nearest(event);
      if (near !== null) showCard(near);
    })
    .on("click", (event) => {
      const mark = event.target.closest("a.mark");
      if (mark) event.preventDefault();
      const byKeyboard = mark && event.detail === 0;
      pinned = byKeyboard ? places.get(mark.dataset.key) : nearest(event);
      showCard(pinned);
      if (byKeyboard) card.querySelector("a").click(); // to its row
    })
    .on("keydown", (event) => {
      const key = event.target.closest("a.mark")?.dataset.key;
      if (event.key === "Escape") showCard(pinned = null);
      if (event.key !== " " || !key) return;
      event.preventDefault();
      toggle(key);
    });
  document.addEventListener("pointerover", ({ target }) => {
    const row = target.closest?.("#board tr[data-row]");
    if (row && pinned === null) light(row.dataset.row);
  });
  // not of the drawing itself: Chromium makes one that listens for the focus a tab stop
  holder.addEventListener("focusin", ({ target }) => {
    if (target.matches("a.mark:focus-visible")) showCard(places.get(target.dataset.key));
  });
  roving(holder, "a.mark:not(.out)", "");
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
      for (const name of ["x", "y"]) {
        if (isLogarithmic(name) !== spansDecades(chosen(name))) address.set(`log${name}`, Number(isLogarithmic(name)));
      }
      if (fields.seeds.checked) address.set("seeds", 1);
    },
    read(address) {
      for (const name of ["x", "y", "colour"]) setField(name, address.get(name));
      for (const name of ["logx", "logy"]) if (address.has(name)) fields[name].checked = address.get(name) === "1";
      fields.seeds.checked = address.get("seeds") === "1";
      later();
    },
  });
  for (const what of ["shown", "selected"]) on(what, later);
  const papers = document.getElementById("papers"); // unfolded where nothing else shows them
  if (papers) papers.open = papers.contains(document.getElementById(address()[0]));
  section.hidden = false;
  new ResizeObserver(later).observe(holder);
}
