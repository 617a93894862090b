// The verdict on two rows of the same images, computed once in Python (mixbench/report/pair_verdicts.py).

const UNCERTAIN = { "not distinguishable": " n.s.", undecided: " undecided", "not testable": " untested" };
const turned = { better: "worse", worse: "better" };
const unpacked = new Map();

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// The difference of one row's quality to the other's: { value, halfWidth or null, outcome, text }.
function verdict(one, other) {
  if (!unpacked.has(one.images)) {
    const { keys, outcomes, outcome, half_width } = data.verdicts[one.images];
    unpacked.set(one.images, {
      places: new Map(keys.map((key, at) => [key, at])),
      outcome: [...bytes(outcome)].map((at) => outcomes[at]),
      halfWidth: new Float32Array(bytes(half_width).buffer),
    });
  }
  const { places, outcome, halfWidth } = unpacked.get(one.images);
  const [first, second] = [places.get(one.key), places.get(other.key)];
  const [i, j] = [Math.min(first, second), Math.max(first, second)];
  const at = i * (2 * places.size - i - 1) / 2 + j - i - 1;
  const value = one.values.top1 - other.values.top1;
  const width = Number.isNaN(halfWidth[at]) ? null : halfWidth[at];
  const found = first < second ? outcome[at] : turned[outcome[at]] ?? outcome[at];
  return { value, halfWidth: width, outcome: found, text: plusMinus(value, width) + (UNCERTAIN[found] ?? "") };
}

// As plus_minus of mixbench/results/statistics.py, with a sign: no more digits than the half width supports.
function plusMinus(value, halfWidth, most = 2) {
  const place = lastPlace(halfWidth, most);
  const rounded = signed(roundTo(value, place), Math.max(0, place));
  if (halfWidth === null) return rounded;
  const width = roundTo(halfWidth, place).toFixed(Math.max(0, place));
  return halfWidth && Number(width) === 0 ? `${rounded} ± <${(10 ** -place).toFixed(place)}` : `${rounded} ± ${width}`;
}

function roundTo(value, place) {
  return place >= 0 ? Number(value.toFixed(place)) : Math.round(value * 10 ** place) / 10 ** place;
}

function lastPlace(halfWidth, most) {
  if (halfWidth === null || !Number.isFinite(halfWidth) || halfWidth <= 0) return most;
  const [digits, exponent] = halfWidth.toExponential(2).split("e").map(Number);
  const kept = digits >= 3.55 && digits < 9.5 ? 1 : 2;
  return Math.min(most, kept - 1 - exponent - (digits >= 9.5));
}
