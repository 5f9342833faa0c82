"use strict";
const main = document.querySelector("main"), by = document.getElementById("by"), filter = document.getElementById("filter");
const cards = [...main.children];
const value = (card, key) => {
  const number = parseFloat(card.dataset[key]);
  return Number.isNaN(number) ? -Infinity : number;
};
function show() {
  const key = by.value, wanted = filter.value.toLowerCase();
  const order = [...cards];
  if (key === "name") order.sort((a, b) => a.dataset.name < b.dataset.name ? -1 : 1);
  else if (key.startsWith("-")) order.sort((a, b) => {
    const first = value(a, key.slice(1)), second = value(b, key.slice(1));
    return first === second ? 0 : second > first ? 1 : -1;
  });
  for (const card of order) card.hidden = !card.dataset.name.toLowerCase().includes(wanted);
  main.append(...order);
}
by.addEventListener("change", show);
filter.addEventListener("input", show);
document.getElementById("order").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("order").hidden = cards.length < 2;
show();
