"use strict";
// The page holds all examples; this script only hides and opens them.
const items = [...document.querySelectorAll("#list > .rollout")];
const form = document.getElementById("filter");

function shown() {
  return items.filter((item) => !item.hidden);
}

function filter() {
  const { split, source, kind, text } = Object.fromEntries(new FormData(form));
  const needle = text.trim().toLowerCase();
  for (const item of items) {
    item.hidden = !(
      (!split || item.dataset.split === split) &&
      (!source || item.dataset.source === source) &&
      (!kind || item.dataset.kind === kind) &&
      (!needle || item.textContent.toLowerCase().includes(needle)));
  }
  document.getElementById("count").textContent = `${shown().length} match, of ${items.length} on this page`;
}

// show.html#split=train&kind=numeric opens with that filter set, so that a view can be shared.
for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
  const field = form.elements.namedItem(key);
  if (field) field.value = value;
}
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("open-all").addEventListener("click", () => {
  for (const item of shown()) item.open = true;
});
document.getElementById("open-gold").addEventListener("click", () => {
  for (const item of shown()) {
    item.open = true;
    for (const document of item.querySelectorAll(".document.gold")) document.open = true;
  }
});
filter();
