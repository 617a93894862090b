// What holds for the whole page: its theme, boxes that scroll, the keyboard, folded parts, printing.

const MOST_PRINTED = 200; // folded parts
const THEMES = { "": "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
const boxSizes = new ResizeObserver((entries) => fitBoxes(entries.map(({ target }) => target)));

function wholePage() {
  theme(document.getElementById("theme"));
  for (const box of document.querySelectorAll(".box")) boxSizes.observe(box);
  for (const button of document.querySelectorAll("button[data-copies]")) copyButton(button);
  // A link into folded parts unfolds them.
  const unfold = () => {
    for (let part = document.getElementById(address()[0]); part; part = part.parentElement) {
      if (part instanceof HTMLDetailsElement) part.open = true;
    }
  };
  window.addEventListener("hashchange", unfold);
  // Paper cannot be unfolded.  Of very many models only those that are open are printed.
  const folded = [...document.querySelectorAll("main details:not(.menu)")];
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = folded.length <= MOST_PRINTED ? folded.filter((each) => !each.open) : [];
    for (const each of opened) each.open = true;
  });
  window.addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
  unfold();
}

// As the system, light, or dark; kept in the browser, where it lets a file keep anything.
function theme(button) {
  const storage = (work) => {
    try {
      return work();
    } catch {
      return null;
    }
  };
  const names = Object.keys(THEMES);
  const show = (name) => {
    document.documentElement.style.colorScheme = name;
    button.textContent = THEMES[name];
    button.value = name;
  };
  const saved = storage(() => localStorage.getItem("mixbench-theme"));
  show(names.includes(saved) ? saved : "");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(button.value) + 1) % names.length];
    show(next);
    storage(() => localStorage.setItem("mixbench-theme", next));
  });
}

// A table that fits needs no box of its own: then its head can stay in sight as the page scrolls.
// All are measured before any is changed: each change would lay out the page anew.
function fitBoxes(boxes) {
  const wide = boxes.map((box) => box.scrollWidth > box.clientWidth + 1);
  boxes.forEach((box, at) => {
    box.classList.toggle("fits", !wide[at]);
    if (wide[at]) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
}

function copyButton(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const copied = await copyText(document.getElementById(button.dataset.copies).textContent);
    button.textContent = copied ? "Copied" : "The browser does not allow copying.";
  });
}

// One tab stop for all lines inside `container`: arrow keys go from line to line, and within a line from part to part;
// Home and End to the first and last line.  `parts`: a selector of what a line lets reach, "" if itself.
function roving(container, lines, parts) {
  const shown = () => [...container.querySelectorAll(lines)];
  const partsOf = (line) => (parts ? [...line.querySelectorAll(parts)].filter((part) => part.offsetParent) : [line]);
  for (const part of container.querySelectorAll(parts || lines)) part.setAttribute("tabindex", "-1");
  const stop = (part) => {
    container.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
    part?.setAttribute("tabindex", "0");
  };
  const first = shown()[0];
  if (first) stop(partsOf(first)[0] ?? first);
  container.addEventListener("focusin", (event) => {
    const part = event.target.closest(parts || lines);
    if (part) stop(part);
  });
  container.addEventListener("keydown", (event) => {
    const part = event.target.closest?.(parts || lines);
    const line = part?.closest(lines);
    if (!line || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = shown();
    const [at, among] = [all.indexOf(line), partsOf(line)];
    const column = Math.max(0, among.indexOf(part));
    const sideways = parts ? { ArrowRight: 1, ArrowLeft: -1 } : {};
    let next;
    if (event.key in sideways) next = among[column + sideways[event.key]];
    else {
      const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
      const there = to === undefined ? undefined : all[to];
      const choice = there && partsOf(there);
      next = choice?.[Math.min(column, choice.length - 1)];
    }
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}
