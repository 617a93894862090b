// Learning curves of the selected rows over each other: the mean over seeds, and each seed thin behind it.

const [BEST, MOST_CURVES] = [5, 12]; // rows drawn where none is selected; at most
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2"]; // of rows of the same colour
const OVER = { epoch: "epoch", step: "step", seconds: "training time" };
const CURVE_MARGIN = { left: 64, right: 16, top: 10, bottom: 46 };

// Returns a function that draws them anew, in the colours that `paint(place of a row)` returns.
function learningCurves(section) {
  const all = data.rows.map((row, at) => at).filter((at) => data.rows[at].curves.length);
  if (!all.length) return () => {};
  const [quality] = data.metrics;
  const fields = section.querySelector("form").elements;
  const kinds = { [quality.key]: `${capital(quality.name)} (${quality.unit})`, "test loss": "Test loss", "train loss": "Train loss" };
  const isKnown = (kind) => all.some((at) => data.rows[at].curves.some((curve) => curve[kind].some((value) => value !== null)));
  const option = ([value, text]) => element("option", { value }, text);
  fields.curve.append(...Object.entries(kinds).filter(([kind]) => isKnown(kind)).map(option));
  fields.over.append(...Object.entries(OVER).filter(([key]) => key !== "step" || all.some((at) => data.stepsPerEpoch[at])).map(option));
  const [legend, said, readout] = [".legend", "output", ".readout"].map((name) => section.querySelector(name));
  const svg = d3.select(section.querySelector(".drawn")).append("svg").attr("class", "plot").attr("role", "img");
  let paint = () => ({});
  let points = []; // { px, py, text } of all seeds and means

  function chosenRows() {
    const selected = view.selected.map((key) => data.rows.findIndex((row) => row.key === key)).filter((at) => all.includes(at));
    if (selected.length) {
      const of = selected.length > MOST_CURVES ? `The first ${MOST_CURVES} of ${selected.length} selected rows.` : "The selected rows.";
      return [selected.slice(0, MOST_CURVES), of];
    }
    const shown = all.filter((at) => view.shown.includes(data.rows[at].key));
    const { images } = data.rows[shown[0]] ?? {};
    const same = shown.filter((at) => data.rows[at].images === images && data.rows[at].values[quality.key] !== undefined);
    const best = same.sort((a, b) => data.rows[b].values[quality.key] - data.rows[a].values[quality.key]).slice(0, BEST);
    return [best, best.length ? `No row is selected: the best ${best.length} shown of ${images}.` : "No row that is shown has curves."];
  }

  // A row's curves as lists of [x, y], one a seed, and their mean over the epochs that all seeds have.
  function linesOf(at, kind, over) {
    const seeds = data.rows[at].curves.map((curve) => ({
      name: `seed ${curve.seed}`,
      points: curve.epoch.map((epoch, index) => ({
        epoch, x: over === "step" ? epoch * data.stepsPerEpoch[at] : curve[over][index], y: curve[kind][index],
      })).filter(({ y }) => y !== null),
    }));
    const shared = seeds[0].points.map(({ epoch }) => seeds.map(({ points: those }) => those.find((point) => point.epoch === epoch)))
      .filter((each) => each.every(Boolean));
    const mean = (each, key) => each.reduce((sum, point) => sum + point[key], 0) / each.length;
    const line = shared.map((each) => ({ epoch: each[0].epoch, x: mean(each, "x"), y: mean(each, "y") }));
    return { seeds: seeds.length > 1 ? seeds : [], mean: { name: seeds.length > 1 ? `mean of ${seeds.length} seeds` : seeds[0].name, points: line } };
  }

  function draw() {
    const width = section.querySelector(".drawn").clientWidth;
    if (!width) return;
    const height = Math.round(Math.max(260, Math.min(400, width * 0.45)));
    const { left, right, top, bottom } = CURVE_MARGIN;
    const [kind, over] = [fields.curve.value, fields.over.value];
    let [chosen, which] = chosenRows();
    const without = chosen.filter((at) => over === "step" && !data.stepsPerEpoch[at]);
    if (without.length) which += ` Steps are not known of ${without.map((at) => data.rows[at].name).join(", ")}.`;
    chosen = chosen.filter((at) => !without.includes(at));
    const rows = chosen.map((at) => ({ at, ...linesOf(at, kind, over) })).filter(({ mean }) => mean.points.length);
    const each = rows.flatMap(({ seeds, mean }) => [...seeds, mean]);
    const xs = each.flatMap(({ points: those }) => those.map(({ x }) => x));
    const ys = each.flatMap(({ points: those }) => those.slice(Math.floor(those.length / 4)).map(({ y }) => y)); // the first epochs may lie beyond
    const unit = over === "seconds" ? [["s", 1], ["min", 60], ["h", 3600]].findLast(([, size]) => Math.max(...xs) >= 2 * size) ?? ["s", 1] : ["", 1];
    const [least, most] = ys.length ? [Math.min(...ys), Math.max(...ys)] : [0, 1];
    const room = (most - least) * 0.06 || 1;
    const x = d3.scaleLinear().domain([0, Math.max(...xs, 0) / unit[1] || 1]).range([left, width - right]);
    const y = d3.scaleLinear().domain([least - room, most + room]).range([height - bottom, top]);
    svg.attr("viewBox", `0 0 ${width} ${height}`).selectAll("*").remove();
    svg.append("clipPath").attr("id", "curves-frame").append("rect").attr("x", left).attr("y", top).attr("width", width - left - right).attr("height", height - top - bottom);
    const grid = svg.append("g").attr("class", "grid");
    const whole = x.ticks(width / 90).filter((value) => over === "seconds" || Number.isInteger(value));
    grid.append("g").attr("transform", `translate(0 ${height - bottom})`)
      .call(d3.axisBottom(x).tickValues(whole).tickFormat(x.tickFormat(10, over === "step" ? "~s" : undefined)).tickSize(top + bottom - height).tickPadding(6));
    grid.append("g").attr("transform", `translate(${left} 0)`).call(d3.axisLeft(y).ticks(height / 70).tickSize(left + right - width).tickPadding(6));
    const label = (text, across, down, turn) => grid.append("text").attr("class", "label").attr("text-anchor", "middle")
      .attr("transform", `translate(${across} ${down}) rotate(${turn})`).text(text);
    label(OVER[over] + (over === "seconds" ? ` (${unit[0]})` : ""), (left + width - right) / 2, height - 8, 0);
    label(kinds[kind], 14, (top + height - bottom) / 2, -90);
    const inside = svg.append("g").attr("class", "lines").attr("clip-path", "url(#curves-frame)");
    points = [];
    const colours = rows.map(({ at }) => paint(at).colour);
    rows.forEach(({ at, seeds, mean }, index) => {
      const dash = DASHES[colours.slice(0, index).filter((colour) => colour === colours[index]).length % DASHES.length];
      for (const line of [...seeds, mean]) {
        const places = line.points.map((point) => [x(point.x / unit[1]), y(point.y)]);
        const drawn = places.length > 1 ? places : [[places[0][0] - 3, places[0][1]], [places[0][0] + 3, places[0][1]]]; // a line needs two points
        inside.append("path").attr("class", line === mean ? "mean" : "seed").attr("data-key", data.rows[at].key).style("--mark", colours[index])
          .attr("stroke-dasharray", line === mean ? dash || null : null).attr("d", `M${drawn.map((place) => place.map((value) => value.toFixed(1)).join(" ")).join("L")}`);
        line.points.forEach((point, nth) => points.push({
          px: places[nth][0], py: places[nth][1],
          text: `${data.rows[at].name}, ${line.name}, epoch ${point.epoch}: ${kinds[kind]} ${significantly(point.y)}`,
        }));
      }
      rows[index].dash = dash;
    });
    svg.append("circle").attr("class", "at").attr("r", 4).attr("hidden", "");
    const ends = rows.map(({ at, mean }) => `${data.rows[at].name} ends at ${significantly(mean.points.at(-1).y)}`);
    svg.attr("aria-label", `${kinds[kind]} by ${OVER[over]}: ${ends.join("; ")}`);
    legend.replaceChildren(...rows.map(({ at, dash }, index) => element("li", {}, element("svg", { viewBox: "0 0 28 8", class: "line", style: `--mark: ${colours[index]}`, "aria-hidden": "true" },
      element("path", { d: "M0 4H28", "stroke-dasharray": dash || "none" })), data.rows[at].name)));
    said.textContent = `${which} Thick: the mean over seeds; thin: each seed.`;
    readout.textContent = "";
  }

  function significantly(value) {
    return value.toLocaleString("en", { maximumSignificantDigits: 4 });
  }

  svg.on("pointermove", (event) => {
    const frame = svg.node().getBoundingClientRect();
    const scale = svg.node().viewBox.baseVal.width / frame.width;
    const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
    const near = points.reduce((best, point) => {
      const far = Math.hypot(point.px - x, point.py - y);
      return far < best.far ? { far, point } : best;
    }, { far: 40 }).point;
    readout.textContent = near?.text ?? "";
    svg.select(".at").attr("hidden", near ? null : "").attr("cx", near?.px ?? 0).attr("cy", near?.py ?? 0);
  });
  section.querySelector("form").addEventListener("input", () => {
    draw();
    remember("curves");
  });
  section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  keepInAddress({
    write(address) {
      for (const name of ["curve", "over"]) if (fields[name].selectedIndex > 0) address.set(name, fields[name].value);
    },
    read(address) {
      for (const name of ["curve", "over"]) {
        fields[name].value = address.get(name) ?? fields[name].options[0].value;
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
