// Texts of cells and numbers; the clipboard.

function plain(element) {
  return element.textContent.replace(/\s+/g, " ").trim();
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// "MACs" keeps its letters.
function uncapital(text) {
  return text.replace(/^[A-Z](?![A-Z])/, (letter) => letter.toLowerCase());
}

function signed(number, digits) {
  const text = Math.abs(number).toFixed(digits);
  return Number(text) === 0 ? text : (number < 0 ? "−" : "+") + text;
}

function significant(number) {
  return number.toLocaleString("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
}

// Returns whether it worked.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea"); // where the browser lends no clipboard to a file
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
