// A mark that is pointed at or has the focus says its name, and lights its row; a row lights its marks.
function marks(tip) {
  const together = new Map();
  for (const element of document.querySelectorAll("[data-row]")) {
    const key = element.dataset.row;
    together.set(key, [...(together.get(key) ?? []), element]);
    const title = element instanceof SVGElement ? element.querySelector("title") : null;
    if (title) {
      element.setAttribute("aria-label", title.textContent);
      title.remove(); // the browser's own tip would come second
    }
  }
  let lit = "";
  let mark = null; // what the tip speaks of
  let tapped = null;

  function light(element) {
    const key = element?.dataset.row ?? "";
    if (key !== lit) {
      for (const each of together.get(lit) ?? []) each.classList.remove("lit");
      for (const each of together.get(key) ?? []) each.classList.add("lit");
      document.body.classList.toggle("lighting", key !== "");
      lit = key;
    }
    say(element instanceof SVGElement ? element : null);
  }

  function say(element) {
    mark = element;
    tip.hidden = !mark;
    tip.textContent = mark?.getAttribute("aria-label") ?? mark?.title ?? "";
    if (mark) place();
  }

  function place() {
    const box = mark.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${box.top > tip.offsetHeight + 12 ? box.top - tip.offsetHeight - 8 : box.bottom + 8}px`;
  }

  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => light(event.target.closest?.("[data-row]")));
  }
  // One tab stop a figure: the arrow keys go from mark to mark.
  for (const figure of document.querySelectorAll("#papers figure, .grid figure")) roving(figure, "a[data-row]", "");
  document.addEventListener("scroll", () => { if (mark) place(); }, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") light(null); });
  // What a cell says when it is pointed at, it says to a keyboard and a finger too.
  document.addEventListener("focusin", (event) => { if (event.target.matches("td[title]")) say(event.target); });
  // A mark leads to its row, or to the model where the row is filtered out; a finger reads its name first.
  document.addEventListener("click", (event) => {
    const touched = event.pointerType === "touch";
    const cell = event.target.closest?.("td[title]");
    if (touched && cell) return say(cell);
    const link = event.target.closest?.("a[data-row]");
    const row = link && document.getElementById(`row-${link.dataset.row}`);
    if (!row) return;
    event.preventDefault();
    if (touched && link instanceof SVGElement && tapped !== link) {
      tapped = link;
      return light(link);
    }
    if (row.hidden) return void (location.hash = row.querySelector("a").hash);
    row.classList.remove("later");
    row.scrollIntoView({ block: "center" });
    row.querySelector("a").focus({ preventScroll: true });
  });
}
