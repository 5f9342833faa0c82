"use strict";
/* The trades of the ticker that is shown: a list of buttons, and the one that is chosen there or in the chart of the price. */
const makeTradeList = (find, onChoose) => {
  const ORDERS = {
    newest: trades => (a, b) => b - a, oldest: trades => (a, b) => a - b,
    best: trades => (a, b) => trades.net(b) - trades.net(a), worst: trades => (a, b) => trades.net(a) - trades.net(b),
  };
  const ROWS = 100;
  let ticker, dates, price, trades, entryDate = NaN, chosen = -1, rowLimit = ROWS;
  const isOpen = index => trades.exit[index] === dates.length - 1;
  const side = index => trades.size[index] > 0 ? "long" : "short";
  const span = index => ({start: dates[trades.entry[index]], end: dates[trades.exit[index]]});
  const numbers = index => {
    const [entry, exit] = [trades.entry[index], trades.exit[index]];
    return {
      entry: isoDate(dates[entry]), exit: isOpen(index) ? "open" : isoDate(dates[exit]), side: side(index), return: percent(trades.net(index), 2),
      costs: percent(trades.cost[index], 3), sessions: `${exit - entry}`, profit: percent(trades.profit[index], 2),
    };
  };

  function show(newTicker, newDates, columns, newPrice) {
    const isSame = newTicker === ticker;
    [ticker, dates, price] = [newTicker, newDates, newPrice];
    trades = {...columns, count: columns.entry.length, net: index => columns.return[index] - columns.cost[index]};
    find("trade-list").querySelector("summary").textContent = `List of ${trades.count.toLocaleString("en")} trades`;
    choose(isSame && known(entryDate) ? trades.entry.findIndex(entry => dates[entry] === entryDate) : -1, {zooms: false});
    rowLimit = ROWS;
    listRows();
    const spans = {long: {start: [], end: []}, short: {start: [], end: []}};
    for (let index = 0; index < trades.count; index++) {
      const {start, end} = span(index);
      spans[side(index)].start.push(start);
      spans[side(index)].end.push(end);
    }
    return spans;
  }

  function choose(index, {zooms = true} = {}) {
    chosen = index;
    entryDate = index < 0 ? NaN : dates[trades.entry[index]];
    for (const button of find("trade-rows").querySelectorAll("button")) button.setAttribute("aria-pressed", Number(button.value) === index);
    find("trade").hidden = index < 0;
    find("previous-trade").disabled = index === 0 || !trades.count;
    find("next-trade").disabled = index === trades.count - 1;
    if (index >= 0) listTerms(find("trade"), describe(index));
    onChoose(index < 0 ? null : span(index), zooms);
  }

  function describe(index) {
    const {entry, exit, return: net, costs, sessions, profit} = numbers(index), at = position => known(price[position]) ? ` at ${fixed(price[position], 2)}` : "";
    return [
      ["Trade", `${(index + 1).toLocaleString("en")} of ${trades.count.toLocaleString("en")}, ${side(index)} ${percent(Math.abs(trades.size[index]))} of equity on average`],
      ["Entry", entry + at(trades.entry[index])],
      ["Exit", isOpen(index) ? "still held" : exit + at(trades.exit[index])],
      ["Sessions held", sessions],
      ["Return after costs", `${net} of the position`],
      ["Costs", `${costs} of the position`],
      ["Profit after costs", `${profit} of equity`],
    ];
  }

  function listRows() {
    if (!find("trade-list").open) return;
    const order = Array.from({length: trades.count}, (_, index) => index).sort(ORDERS[find("trade-order").value](trades));
    find("trade-rows").replaceChildren(...order.slice(0, rowLimit).map(index => {
      const {entry, ...others} = numbers(index), line = document.createElement("tr"), head = makeElement("th", "", {scope: "row"});
      const button = makeElement("button", entry, {type: "button", value: index});
      button.setAttribute("aria-pressed", index === chosen);
      head.append(button);
      line.append(head, ...Object.values(others).map(text => makeElement("td", text)));
      return line;
    }));
    find("more-trades").hidden = trades.count <= rowLimit;
  }

  find("trade-list").addEventListener("toggle", listRows);
  find("trade-order").addEventListener("change", () => { rowLimit = ROWS; listRows(); });
  find("more-trades").addEventListener("click", () => { rowLimit += ROWS; listRows(); });
  find("trade-rows").addEventListener("click", event => {
    const row = event.target.closest("tr");
    if (row) choose(Number(row.querySelector("button").value));
  });
  find("previous-trade").addEventListener("click", () => choose((chosen < 0 ? trades.count : chosen) - 1));
  find("next-trade").addEventListener("click", () => choose(chosen + 1));
  return {
    show, choose,
    chooseAt: time => {
      for (let index = 0; index < trades.count; index++) {
        const {start, end} = span(index);
        if (start <= time && time < end) return choose(index);
      }
    },
    get chosen() { return chosen; },
  };
};
