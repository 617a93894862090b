// Two selected rows side by side: settings that differ, metrics, curves, step times, classes, single images.

const MOST_CLASSES = 20;
const OUTCOMES = {
  better: "A is better than B",
  worse: "A is worse than B",
  "not distinguishable": "A and B are not distinguishable",
};

function comparison(section) {
  const panel = document.getElementById("compared");
  const said = document.getElementById("compare-said");
  const places = new Map(data.rows.map((row, at) => [row.key, at]));
  const [quality] = data.metrics;

  // A is the row that the board has first: of one data set, the more accurate one.
  on("selected", (keys) => {
    const chosen = keys.map((key) => places.get(key)).filter((at) => at !== undefined).sort((a, b) => a - b);
    section.hidden = chosen.length < 2;
    for (const link of document.querySelectorAll('nav a[href="#compare"]')) link.hidden = section.hidden;
    if (chosen.length === 2) return show(...chosen);
    said.textContent = section.hidden ? "" : `${chosen.length} rows are selected: select two to compare them.`;
    panel.replaceChildren(note(said.textContent));
  });

  function show(i, j) {
    const [a, b] = [i, j].map((at) => ({ ...data.rows[at], ...data.sides[at] }));
    const pair = data.pairs[`${i} ${j}`];
    const images = pair?.overlap ? [classes(a, b), overlap(a, b, pair), furthest(a, pair)] : [];
    panel.replaceChildren(
      names(a, b),
      ...judged(a, b, pair),
      ...why(a, b, pair),
      element("div", { class: "beside" }, metrics(a, b), differing(a, b)),
      element("div", { class: "overlaid" }, ...curves(a, b), ...steps(a, b)),
      element("div", { class: "beside" }, ...images),
    );
    for (const box of panel.querySelectorAll(".box")) boxSizes.observe(box);
    said.textContent = `Comparing ${a.name} with ${b.name}.`;
  }

  function names(...two) {
    return element("dl", { class: "sides" }, ...two.map((row, at) => {
      const link = element("a", { class: "ref", href: `#row-${row.key}`, "data-row": row.key }, row.name);
      return element("div", {}, element("dt", { class: `side-${"ab"[at]}` }, "AB"[at]), element("dd", {}, link));
    }));
  }

  function difference(a, b) {
    return a.images === b.images && [a, b].every(isRanked) ? verdict(a, b) : null;
  }

  function isRanked(row) {
    return row.values[quality.key] !== undefined;
  }

  function judged(a, b, pair) {
    const found = difference(a, b);
    if (!found) return [];
    const speaks = pair?.note ? ` (${pair.note})` : "";
    const holds = `and holds over all pairs of ${a.images}.`;
    const counts = pair && pair.basis !== "none" ? ` The interval counts ${pair.basis}, ${holds}` : "";
    const words = `${found.text.endsWith(".") ? "" : "."} ${OUTCOMES[found.outcome] ?? capital(found.outcome)}${speaks}.${counts}`;
    const points = element("strong", {}, found.text);
    return [element("p", { class: "verdict" }, `${capital(quality.name)}, A − B in points: `, points, words)];
  }

  function why(a, b, pair) {
    if (a.images !== b.images) return [note(`Accuracies on ${a.images} and on ${b.images} are not compared.`)];
    if (!pair) return [note(`With so many rows on ${a.images} the page leaves out their images, classes and step times.`)];
    const evaluated = [a, b].filter(isRanked);
    const without = evaluated.filter((row) => !row.byClass).map((row) => row.name);
    if (without.length) return [note(`No predictions were kept of ${without.join(" and ")}: images are not compared.`)];
    return evaluated.length < 2 || pair.overlap ? [] : [note("Their seeds were not tested on the same images.")];
  }

  function differing(a, b) {
    const facts = [a, b].map((row) => ({
      "Data set": row.images, Family: row.family, Device: row.device || "–", ...row.settings,
      "Registry name": row.settings["Registry name"].replace(/\[.*/, ""), // its arguments follow
      ...row.arguments,
      ...Object.fromEntries(Object.entries(row.recipe).map(([key, value]) => [`recipe: ${key}`, value])),
    }));
    const keys = Object.keys({ ...facts[0], ...facts[1] }).filter((key) => facts[0][key] !== facts[1][key]);
    if (!keys.length) return note("The two differ in no setting, argument or key of the recipe.");
    const lines = keys.map((key) => [key, ...facts.map((each) => each[key] ?? "–")]);
    return tabled("What differs", "settings, arguments and recipe", ["Setting", "A", "B"], lines);
  }

  function metrics(a, b) {
    const known = data.metrics.filter(({ key }) => a.values[key] !== undefined || b.values[key] !== undefined);
    const lines = known.map((metric) => {
      const apart = metric === quality ? (difference(a, b)?.text ?? "–") : ratio(a, b, metric);
      return [capital(metric.name), a.texts[metric.key], b.texts[metric.key], apart];
    });
    for (const [key, title, digits, unit] of [["ece", "ECE", 2, " %"], ["nll", "NLL", 4, ""]]) {
      if (a[key] === undefined || b[key] === undefined) continue;
      lines.push([title, ...[a, b].map((row) => row[key].toFixed(digits) + unit), signed(a[key] - b[key], digits)]);
    }
    const devices = sameDevice(a, b) ? "" : "; of different devices, speeds are not compared";
    return tabled("Metrics", `× is A ÷ B, else A − B${devices}`, ["Metric", "A", "B", "A to B"], lines, 3);
  }

  function sameDevice(a, b) {
    return !a.device || !b.device || a.device === b.device;
  }

  function ratio(a, b, { key, timed, speed }) {
    const [ours, theirs] = [a, b].map((row) => row.values[key]);
    if (ours === undefined || !theirs || (timed && !sameDevice(a, b))) return "–";
    return `${speed && (a.unsure || b.unsure) ? "≈ " : ""}× ${significant(ours / theirs)}`;
  }

  function curves(a, b) {
    const titles = {
      [quality.key]: `${capital(quality.name)} by epoch, ${quality.unit}`,
      "test loss": "Test loss by epoch",
      "train loss": "Training loss by epoch",
    };
    return Object.entries(titles).flatMap(([key, title]) => {
      const lines = [a, b].map((row) => row.curves.map((curve) => {
        return curve.epoch.map((epoch, at) => [epoch, curve[key][at]]).filter(([, y]) => y !== null);
      }).filter((points) => points.length > 1));
      return lines.every((each) => each.length) ? [overlaid(title, "epoch", lines)] : [];
    });
  }

  function steps(a, b) {
    if (!sameDevice(a, b)) return [];
    return Object.entries(a.steps ?? {}).filter(([kind]) => b.steps?.[kind]).map(([kind, samples]) => {
      const caption = `${capital(kind)}s: % of those timed, by duration`;
      return overlaid(caption, "milliseconds", histograms(samples, b.steps[kind]), true);
    });
  }

  function classes(a, b) {
    const all = a.byClass.map((ours, at) => ({ name: nameOf(a, at), ours, theirs: b.byClass[at] }));
    const lines = all.filter(({ ours, theirs }) => ours !== null && theirs !== null);
    lines.sort((x, y) => Math.abs(y.ours - y.theirs) - Math.abs(x.ours - x.theirs));
    const some = lines.slice(0, MOST_CLASSES);
    const least = Math.min(...some.flatMap(({ ours, theirs }) => [ours, theirs]));
    const low = Math.min(90, Math.floor(least / 10) * 10);
    const rows = some.map(({ name, ours, theirs }) => {
      return [name, ours.toFixed(1), theirs.toFixed(1), signed(ours - theirs, 1), dumbbell(ours, theirs, low)];
    });
    const which = lines.length > rows.length ? `in %, the ${rows.length} of ${lines.length} classes that differ most` : "in %, mean over the seeds";
    return tabled("Top-1 by class", which, ["Class", "A", "B", "A − B", `${low} to 100 %`], rows, 3);
  }

  function overlap(a, b, { overlap: of }) {
    const all = of.both_right + of.only_a + of.only_b + of.both_wrong;
    const share = (count) => `${((100 * count) / all).toFixed(1)} %`;
    const cell = (count) => `${Math.round(count).toLocaleString("en")} (${share(count)})`;
    const pairs = a.predicted * b.predicted;
    const how = pairs > 1 ? `mean over all ${pairs} pairs of a seed of A and one of B` : "one seed of each";
    const lines = [
      ["A right", cell(of.both_right), cell(of.only_a)],
      ["A wrong", cell(of.only_b), cell(of.both_wrong)],
    ];
    const table = tabled("Where they disagree", `test images; ${how}`, ["", "B right", "B wrong"], lines, 2);
    return element("div", {}, table, note(`Both predict the same class for ${share(of.same)} of the images.`));
  }

  function furthest(a, { images }) {
    const lines = images.map(([at, label, ...chances]) => {
      return [String(at), nameOf(a, label), ...chances.map((chance) => `${(100 * chance).toFixed(1)} %`)];
    });
    const under = "probability of the true class; images numbered from 0";
    return tabled("Furthest apart", under, ["Image", "True class", "A", "B"], lines);
  }

  function nameOf(row, number) {
    return data.classes[row.images]?.[number] ?? String(number);
  }

  function note(text) {
    return element("p", { class: "note" }, text);
  }

  // A table in a box that scrolls by itself; after the first column, `numeric` ones are set right.
  function tabled(title, under, heads, lines, numeric = 0) {
    const kind = (at) => (at > 0 && at <= numeric ? { class: "num" } : {});
    const caption = element("span", { class: "title" }, title, " ", element("small", {}, under));
    const head = heads.map((text, at) => (text ? element("th", { scope: "col", ...kind(at) }, text) : element("td", {})));
    const body = lines.map(([first, ...rest]) => {
      const cells = rest.map((inside, at) => element("td", kind(at + 1), inside));
      return element("tr", {}, element("th", { scope: "row" }, first), ...cells);
    });
    const table = element("table", {}, element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
    return element("div", { class: "box", role: "region", "aria-label": title }, table);
  }
}
