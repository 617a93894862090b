// Learning curves of the selected rows over each other: the mean over seeds, and each seed thin behind it.

const [BEST, MOST_CURVES] = [5, 12]; // rows drawn where none is selected; at most
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2"]; // of rows of the same colour
const OVER = { epoch: "epoch", step: "step", seconds: "training time" };
const DURATIONS = [["s", 1], ["min", 60], ["h", 3600]];

// Returns a function that draws them anew, in the colours that `paint(place of a row)` returns.
function learningCurves(section) {
  const all = data.rows.map((row, at) => at).filter((at) => data.rows[at].curves.length);
  if (!all.length) return () => {};
  const [quality] = data.metrics;
  const form = section.querySelector("form");
  const fields = form.elements;
  const kinds = { [quality.key]: capital(quality.axis), "test loss": "Test loss", "train loss": "Train loss" };
  const [holder, legend, said, readout] = [".drawn", ".legend", "output", ".readout"].map((name) => section.querySelector(name));
  const svg = d3.select(holder).append("svg").attr("class", "plot").attr("role", "img");
  const [grid, lines] = ["grid", "lines"].map((name) => svg.append("g").attr("class", name));
  const frame = clipTo(svg, "curves-frame");
  lines.attr("clip-path", "url(#curves-frame)");
  const dot = svg.append("circle").attr("class", "at").attr("r", 4).attr("hidden", "");
  let paint = () => ({});
  let points = []; // { px, py, text } of all seeds and means

  // The places of the rows that are drawn, and in words which they are.
  function chosenRows() {
    const known = new Map(all.map((at) => [data.rows[at].key, at]));
    const [selected, shown] = [view.selected, view.shown].map((keys) => keys.filter((key) => known.has(key)).map((key) => known.get(key)));
    if (selected.length > MOST_CURVES) return [selected.slice(0, MOST_CURVES), `The first ${MOST_CURVES} of ${selected.length} selected rows.`];
    if (selected.length) return [selected, "The selected rows."];
    const ranked = shown.filter((at) => data.rows[at].values[quality.key] !== undefined);
    const same = ranked.filter((at) => data.rows[at].images === data.rows[ranked[0]].images);
    const best = same.sort((a, b) => data.rows[b].values[quality.key] - data.rows[a].values[quality.key]).slice(0, BEST);
    if (!best.length) return [[], "No row that is shown has curves."];
    return [best, `No row is selected: the best ${best.length} shown of ${data.rows[best[0]].images}.`];
  }

  // A row's seeds, each { name, points: [{ epoch, x, y }] }, then their mean over the epochs that all of them have.
  function linesOf(at, kind, over) {
    const seeds = data.rows[at].curves.map((curve) => ({
      name: `seed ${curve.seed}`,
      points: curve.epoch.map((epoch, nth) => {
        return { epoch, x: over === "step" ? epoch * data.stepsPerEpoch[at] : curve[over][nth], y: curve[kind][nth] };
      }).filter(({ y }) => y !== null),
    }));
    if (seeds.length === 1) return seeds;
    const together = [...Map.groupBy(seeds.flatMap((seed) => seed.points), ({ epoch }) => epoch)];
    const mean = (each, key) => each.reduce((sum, point) => sum + point[key], 0) / each.length;
    const shared = together.filter(([, each]) => each.length === seeds.length)
      .map(([epoch, each]) => ({ epoch, x: mean(each, "x"), y: mean(each, "y") }));
    return [...seeds, { name: `mean of ${seeds.length} seeds`, points: shared }];
  }

  function draw() {
    const width = holder.clientWidth;
    if (!width) return;
    const height = Math.round(Math.max(260, Math.min(400, width * 0.45)));
    const [kind, over] = [fields.curve.value, fields.over.value];
    const [chosen, which] = chosenRows();
    const unknown = chosen.filter((at) => over === "step" && !data.stepsPerEpoch[at]);
    const rows = chosen.filter((at) => !unknown.includes(at)).map((at) => ({ at, colour: paint(at).colour, lines: linesOf(at, kind, over) }))
      .filter((row) => row.lines.at(-1).points.length);
    rows.forEach((row, nth) => {
      row.dash = DASHES[rows.slice(0, nth).filter(({ colour }) => colour === row.colour).length % DASHES.length];
    });
    const each = rows.flatMap((row) => row.lines.map((line) => line.points));
    const most = Math.max(0, ...each.flat().map(({ x }) => x)) || 1;
    const [unit, seconds] = over === "seconds" ? DURATIONS.findLast(([, size]) => most >= 2 * size) ?? DURATIONS[0] : ["", 1];
    const [[left, top], [right, bottom]] = inner(width, height);
    const x = d3.scaleLinear().domain([0, most / seconds]).range([left, right]);
    // the first quarter may lie beyond the axis
    const y = scaleOf(each.flatMap((line) => line.slice(Math.floor(line.length / 4)).map((point) => point.y)), false, [bottom, top]);
    svg.attr("viewBox", `0 0 ${width} ${height}`);
    setFrame(frame, width, height);
    drawGrid(grid, width, height, {
      scale: x,
      values: x.ticks(width / 90).filter((value) => over === "seconds" || Number.isInteger(value)),
      format: over === "step" ? x.tickFormat(1, "~s") : String,
      label: capital(OVER[over]) + (unit && ` (${unit})`),
    }, { scale: y, values: y.ticks(height / 70), format: y.tickFormat(height / 70), label: kinds[kind] });
    points = [];
    lines.selectAll("*").remove();
    for (const row of rows) drawRow(row, (value) => x(value / seconds), y, kinds[kind]);
    explain(rows, `${kinds[kind]} by ${OVER[over]}`);
    const without = unknown.length ? ` Steps are not known of ${unknown.map((at) => data.rows[at].name).join(", ")}.` : "";
    const seeds = rows.some((row) => row.lines.length > 1) ? " Thick: the mean over seeds; thin: each seed." : "";
    said.textContent = which + without + seeds;
  }

  function drawRow({ at, colour, dash, lines: those }, x, y, title) {
    const { key, name } = data.rows[at];
    those.forEach((line, nth) => {
      const isMean = nth === those.length - 1;
      const places = line.points.map((point) => [x(point.x), y(point.y)]);
      if (!places.length) return;
      const [[px, py]] = places;
      const path = polyline(places.length > 1 ? places : [[px - 3, py], [px + 3, py]]); // a line needs two points
      lines.append("path").attr("class", isMean ? "mean" : "seed").attr("data-key", key).style("--mark", colour)
        .attr("stroke-dasharray", isMean && dash ? dash : null).attr("d", path);
      points.push(...line.points.map((point, of) => {
        return { px: places[of][0], py: places[of][1], text: `${name}, ${line.name}, epoch ${point.epoch}: ${title} ${fourDigits(point.y)}` };
      }));
    });
  }

  function explain(rows, title) {
    const ends = rows.map((row) => `${data.rows[row.at].name} ends at ${fourDigits(row.lines.at(-1).points.at(-1).y)}`);
    svg.attr("aria-label", `${title}: ${ends.join("; ")}`);
    legend.replaceChildren(...rows.map(({ at, colour, dash }) => {
      const line = element("path", { d: "M0 4H28", "stroke-dasharray": dash || "none" });
      const drawing = { viewBox: "0 0 28 8", class: "line", style: `--mark: ${colour}`, "aria-hidden": "true" };
      return element("li", {}, element("svg", drawing, line), data.rows[at].name);
    }));
    readout.textContent = "";
    dot.attr("hidden", "");
  }

  const option = ([value, text]) => element("option", { value }, text);
  const curves = all.flatMap((at) => data.rows[at].curves);
  const isKnown = (kind) => curves.some((curve) => curve[kind].some((value) => value !== null));
  fields.curve.append(...Object.entries(kinds).filter(([kind]) => isKnown(kind)).map(option));
  fields.over.append(...Object.entries(OVER).filter(([key]) => key !== "step" || all.some((at) => data.stepsPerEpoch[at])).map(option));
  svg.on("pointermove", (event) => {
    const near = nearestPoint(points, placeIn(svg.node(), event), 40);
    readout.textContent = near?.text ?? "";
    dot.attr("hidden", near ? null : "").attr("cx", near?.px ?? 0).attr("cy", near?.py ?? 0);
  });
  form.addEventListener("input", () => {
    draw();
    remember("curves");
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  keepInAddress({
    write(address) {
      for (const name of ["curve", "over"]) if (fields[name].selectedIndex > 0) address.set(name, fields[name].value);
    },
    read(address) {
      for (const name of ["curve", "over"]) {
        fields[name].value = address.get(name) ?? "";
        if (fields[name].selectedIndex === -1) fields[name].selectedIndex = 0;
      }
      draw();
    },
  });
  section.hidden = false;
  return (newPaint) => {
    paint = newPaint;
    draw();
  };
}

function fourDigits(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}
