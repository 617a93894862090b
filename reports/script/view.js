// What the page's parts tell each other: its rows' data, which of them the filter shows, which are selected.

const data = JSON.parse(document.getElementById("data").textContent);
const rowData = new Map(data.rows.map((row) => [row.key, row]));
const view = { shown: data.rows.map((row) => row.key), selected: [] };
const listeners = { shown: [], selected: [] };

// Calls `listener` with the keys of the rows that the filter shows, or that are selected, whenever they change.
function on(what, listener) {
  listeners[what].push(listener);
}

function set(what, keys) {
  if (keys.length === view[what].length && keys.every((key, at) => key === view[what][at])) return;
  view[what] = keys;
  for (const listener of listeners[what]) listener(keys);
}
