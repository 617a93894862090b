// The view in the URL's fragment (#figures?sort=-top1: a place in the page and the view), so that a link shows the same.

const kept = []; // parts of the page that write their choices into the address and read them from it
let isReading = false;

// The place in the page that the fragment names, and the view, if it holds one.
function address() {
  const [place, ...said] = location.hash.slice(1).split("?");
  try {
    return [decodeURIComponent(place), said.length ? said.join("?") : undefined];
  } catch {
    return ["", undefined]; // a link that was cut short
  }
}

// `part.write(params)` sets what differs from the page as it opens; `part.read(params)` shows what they say.
function keepInAddress(part) {
  kept.push(part);
}

function remember(place) {
  if (isReading) return;
  const params = new URLSearchParams();
  for (const part of kept) part.write(params);
  const here = place ?? address()[0];
  if (params.size || location.hash.includes("?")) history.replaceState(null, "", `#${here}${params.size ? `?${params}` : ""}`);
}

function restore() {
  const [place, said] = address();
  if (said === undefined && kept.wasRead) return void remember(place); // a link within the page: the view stays with it
  isReading = true;
  for (const part of kept) part.read(new URLSearchParams(said));
  isReading = false;
  kept.wasRead = true;
  if (said === undefined) return;
  const target = document.getElementById(place);
  target?.scrollIntoView({ behavior: "instant" });
  if (target?.hidden && target.dataset.row) {
    document.getElementById("shown").textContent = `${rowData.get(target.dataset.row).name} does not fit what is chosen here.`;
  }
}
