// Texts of cells and numbers, and the URL's fragment (#figures?sort=-top1: a place in the page and the view).

// The place in the page that the URL's fragment names, and the leaderboard's view, if it holds one.
function address() {
  const [place, ...view] = location.hash.slice(1).split("?");
  try {
    return [decodeURIComponent(place), view.length ? view.join("?") : undefined];
  } catch {
    return ["", undefined]; // a link that was cut short
  }
}

function plain(element) {
  return element.textContent.replace(/\s+/g, " ").trim();
}

function decimals(text) {
  return text.match(/^\d+\.?(\d*)/)?.[1].length ?? 0;
}

function signed(number, digits) {
  const text = Math.abs(number).toFixed(digits);
  return Number(text) === 0 ? text : (number < 0 ? "−" : "+") + text;
}

function significant(number) {
  return number.toLocaleString("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
}
