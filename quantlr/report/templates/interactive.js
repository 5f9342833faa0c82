"use strict";
/* Interactive charts on one time axis, drawn by BokehJS: linked crosshair and zoom. All numbers come with the page.
   drawInteractiveCharts(element, data, requestTicker) draws, and resolves to an object whose update(data) takes newer data and keeps zoom and
   session. Where not all tickers come with the page, requestTicker(name) has an update with another one sent. */
const inflate = base64 => {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")));
};
const isPainted = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));  // the next frame
const known = value => value !== undefined && value !== null && !Number.isNaN(value);
const fixed = (value, digits) => value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits}).replace("-", "−");
const percent = (value, digits = 1) => known(value) ? `${fixed(100 * value, digits)}%` : "–";
const isoDate = time => new Date(time).toISOString().slice(0, 10);
const makeElement = (tag, text, attributes = {}) => Object.assign(document.createElement(tag), {textContent: text}, attributes);
const tableRow = (cells, tag) => {
  const line = document.createElement("tr");
  line.append(...cells.map((text, index) => {
    const isHead = (index === 0) !== (tag === "th");
    return makeElement(isHead ? "th" : "td", text, isHead ? {scope: index ? "col" : "row"} : {});
  }));
  return line;
};
const describeChart = (chart, {title, sentence, table}) => {
  chart.querySelector("h3").textContent = title;
  chart.querySelector("p").textContent = sentence;
  chart.querySelector("[data-table=years] caption").textContent = table.title;
  chart.querySelector("[data-table=years]").closest("details").hidden = !table.rows.length;
  chart.querySelector("[data-table=years] thead").replaceChildren(tableRow(["", ...table.columns], "th"));
  chart.querySelector("[data-table=years] tbody").replaceChildren(...table.rows.map(([label, cells]) => tableRow([label, ...cells], "td")));
};
const DATE_FORMATS = {days: "%d %b\n%Y", months: "%b %Y", years: "%Y"};
const listTerms = (list, rows) => list.replaceChildren(
  ...rows.flatMap(([label, value]) => [makeElement("dt", label), makeElement("dd", value)]));
const labelled = (glyphs, colors, label) => glyphs.filter(glyph => glyph.label).map(glyph => {
  const item = makeElement("li", ""), swatch = makeElement("span", "");
  swatch.style.background = colors[glyph.color];
  item.append(swatch, label(glyph.label));
  return item;
});
const newFigure = options => {
  const figure = Bokeh.Plotting.figure({
    sizing_mode: "stretch_width", toolbar_location: null, tools: [], min_border_left: 62, min_border_right: 8, min_border_top: 6,
    outline_line_color: null, background_fill_color: null, border_fill_color: null, ...options,
  });
  const [xAxis] = figure.xaxes, [yAxis] = figure.yaxes;
  if (options.x_axis_type === "datetime") xAxis.formatter = new Bokeh.DatetimeTickFormatter(DATE_FORMATS);
  xAxis.minor_tick_line_color = yAxis.minor_tick_line_color = yAxis.major_tick_line_color = yAxis.axis_line_color = null;
  figure.xgrids[0].visible = false;
  yAxis.ticker.desired_num_ticks = 5;
  return figure;
};
const paintFigure = (figure, glyphs, colors) => {
  const [xAxis] = figure.xaxes, [yAxis] = figure.yaxes;
  for (const {glyph, property, color} of glyphs) glyph[property] = colors[color];
  for (const axis of [xAxis, yAxis]) axis.major_label_text_color = axis.axis_label_text_color = colors.ink;
  xAxis.axis_line_color = xAxis.major_tick_line_color = figure.xgrids[0].grid_line_color = figure.ygrids[0].grid_line_color = colors.line;
};
/* Bokeh comes compressed; the policy of the page allows this one script by its hash. */
const bokehIsReady = (async () => {
  const text = await (await inflate(document.querySelector("script[data-bokeh]").textContent)).text();
  document.head.append(makeElement("script", text));
  Bokeh.logger.set_level("warn");
})();

const drawInteractiveCharts = async (element, firstData, requestTicker) => {
  await bokehIsReady;
  const DAY = 86400000, HEIGHTS = {price: 240, probability: 150, equity: 240, drawdown: 150};
  const TYPES = {int16: Int16Array, int32: Int32Array, float32: Float32Array};
  const find = name => element.querySelector(`[data-part="${name}"]`);
  const css = name => getComputedStyle(element).getPropertyValue(name).trim();
  const column = (buffer, {type, start, length, step}) => {
    const values = new TYPES[type](buffer, start, length);
    if (step === undefined) return values;
    const numbers = new Float64Array(length);
    for (let index = 0; index < length; index++) numbers[index] = values[index] === -32768 ? NaN : values[index] * step;
    return numbers;
  };
  const decode = (buffer, columns) => Object.fromEntries(Object.entries(columns).map(([name, place]) => [name, column(buffer, place)]));
  const coarse = matchMedia("(pointer: coarse)").matches;

  const source = new Bokeh.ColumnDataSource({data: {x: []}});
  const strips = {long: new Bokeh.ColumnDataSource({data: {start: [], end: []}}), short: new Bokeh.ColumnDataSource({data: {start: [], end: []}})};
  const xRange = new Bokeh.Range1d({start: 0, end: 1});
  const charts = Object.fromEntries(Object.entries(HEIGHTS).map(([key, height]) => [key, makeChart(key, height)]));
  let data, dates, runColumns, ticker, tickerColumns, contributions, selected = -1, frame = 0;
  const trades = makeTradeList(find, (trade, zooms) => {
    for (const {box} of Object.values(charts)) box.setv(trade ? {left: trade.start, right: trade.end, visible: true} : {visible: false});
    if (!trade || !zooms) return;
    const room = Math.max((trade.end - trade.start) / 2, 10 * DAY);
    zoomTo(trade.start - room, trade.end + room);
    select(nearest(trade.start));
  });

  function makeChart(key, height) {
    const isLog = key === "equity", isPercent = key === "probability" || key === "drawdown";
    const figure = newFigure({
      height, x_range: xRange, y_range: new Bokeh.Range1d({start: isLog ? 0.5 : 0, end: 1}),
      x_axis_type: "datetime", y_axis_type: isLog ? "log" : "linear", tools: coarse ? [] : ["xbox_zoom"],
    });
    const [yAxis] = figure.yaxes;
    yAxis.formatter = new Bokeh.NumeralTickFormatter({format: isPercent ? "0%" : "0,0.[00]"});
    const glyphs = [];  // what is drawn, with the name of its colour and its label
    const line = (name, color, label, line_width = 1.4) =>
      glyphs.push({glyph: figure.line({field: "x"}, {field: name}, {source, line_width}).glyph, property: "line_color", color, label});
    if (key === "price") {
      for (const side of ["long", "short"]) {
        const {glyph} = figure.vstrip({field: "start"}, {field: "end"}, {source: strips[side], line_color: null, fill_alpha: 0.32});
        glyphs.push({glyph, property: "fill_color", color: side, label: side});
      }
      line("price", "ink", "price");
    } else if (key === "probability") {
      line("base_rate", "baseline", "base rate");
      line("probability", "strategy", "probability of up", 1);
    } else if (key === "equity") {
      line("benchmark_equity", "baseline", "benchmark");
      line("gross_equity", "gross", "before costs");
      line("net_equity", "strategy", "after costs", 2);
    } else {
      const {glyph} = figure.varea({field: "x"}, {value: 0}, {field: "net_drawdown"}, {source, fill_alpha: 0.3});
      glyphs.push({glyph, property: "fill_color", color: "strategy"});
      line("benchmark_drawdown", "baseline", "benchmark", 1);
      line("net_drawdown", "strategy", "after costs", 1);
    }
    const span = new Bokeh.Span({dimension: "height", location: null, line_width: 1, level: "overlay"});
    const box = new Bokeh.BoxAnnotation({visible: false, fill_alpha: 0.06, line_alpha: 0.7, line_dash: "dashed", propagate_hover: true});
    figure.add_layout(box);
    figure.add_layout(span);
    const names = {price: ["price"], probability: ["probability", "base_rate"], equity: ["net_equity", "gross_equity", "benchmark_equity"], drawdown: ["net_drawdown", "benchmark_drawdown"]}[key];
    for (const event of ["mousemove", "tap"])
      figure.on_event(event, ({x}) => { if (known(x)) select(nearest(x)); });
    if (key === "price") figure.on_event("tap", ({x}) => trades.chooseAt(x));
    figure.on_event("doubletap", showAll);
    return {figure, span, box, glyphs, names, isLog, key};
  }

  const panels = makePanels(find, {xRange, coarse, HEIGHT: 240, onHover: time => select(nearest(time)), showAll});

  function applyTheme() {
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map(css), [blue, sky] = ["#0072B2", "#56B4E9"];
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches, [strategy, gross] = isDark ? [sky, "#CC79A7"] : [blue, sky];
    const colors = {ink, soft, line, strategy, gross, baseline: "#E69F00", long: sky, short: "#D55E00"};
    panels.paint(colors);
    for (const {figure, span, box, glyphs, key} of Object.values(charts)) {
      span.line_color = soft;
      box.fill_color = box.line_color = ink;
      paintFigure(figure, glyphs, colors);
      const label = text => text === "benchmark" ? data.benchmark : text;
      find(key).querySelector("ul").replaceChildren(...labelled(glyphs, colors, label));
    }
  }

  /* Charts out of the window are painted in the frame after those in it. */
  function holdHidden() {
    const hidden = Object.values(charts).filter(({figure, key}) => {
      const {top, bottom} = find(key).getBoundingClientRect();
      return !figure.hold_render && (bottom < 0 || top > innerHeight);
    });
    for (const {figure} of hidden) figure.hold_render = true;
    isPainted().then(() => { for (const {figure} of hidden) figure.hold_render = false; });
  }

  function nearest(time) {
    let low = 0, high = dates.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (dates[middle] <= time) low = middle; else high = middle;
    }
    return time - dates[low] <= dates[high] - time ? low : high;
  }

  function select(index) {
    if (index === selected) return;
    selected = index;
    frame = frame || requestAnimationFrame(() => { frame = 0; showSession(); });
  }

  function showSession() {
    for (const {span} of Object.values(charts)) span.location = dates[selected];
    panels.showSession(dates[selected]);
    find("session").value = selected;
    find("session").setAttribute("aria-valuetext", isoDate(dates[selected]));
    const at = name => (tickerColumns[name] || runColumns[name])[selected];
    const outcome = known(at("up")) ? (at("up") > 0.5 ? "up" : "not up") : known(at("probability")) ? "dropped or not known yet" : "–";
    const weight = at("weight");
    const rows = [
      ["Session", isoDate(dates[selected])],
      [ticker.price_name.replace(/^./, (letter) => letter.toUpperCase()), known(at("price")) ? fixed(at("price"), 2) : "–"],
      ["Probability of up, forecast at this close", `${percent(at("probability"))} (base rate ${percent(at("base_rate"))})`],
      ["Outcome of this forecast", outcome],
      ["Position from this date's fill to the next", known(weight) ? (weight ? `${weight > 0 ? "long" : "short"} ${percent(Math.abs(weight))}` : "flat") : "–"],
      ["Its cost, and its return after costs", known(at("cost")) ? `${fixed(1e4 * at("cost"), 2)} bps, ${percent(at("net_return"), 2)} of equity` : "–"],
      ["Equity after costs", known(at("net_equity")) ? fixed(at("net_equity"), 4) : "–"],
      ["Drawdown", percent(at("net_drawdown"))],
    ];
    const parts = Object.entries(contributions).map(([name, values]) => [name, values[selected]]).filter(([, value]) => known(value));
    parts.sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
    const listed = parts.slice(0, 12).map(([name, value]) => `${name} ${value > 0 ? "+" : ""}${fixed(value, 4)}`).join("\n");
    if (listed) rows.push([data.contributions_text, listed + (parts.length > 12 ? `\n${parts.length - 12} smaller` : "")]);
    else if (data.contributions_text && known(at("probability")))
      rows.push(["Contributions of the features", Object.keys(contributions).length ? "none: no finite coefficients at this refit" : data.contributions_text]);
    listTerms(find("readout"), rows);
  }

  function fitHeights() {
    const first = Math.max(0, nearest(xRange.start)), last = Math.min(dates.length - 1, nearest(xRange.end));
    for (const {figure, names, isLog, key} of Object.values(charts)) {
      let low = Infinity, high = -Infinity;
      for (const name of names) {
        const values = source.data[name];
        for (let index = first; index <= last; index++)
          if (values[index] < low || values[index] > high) { low = Math.min(low, values[index]); high = Math.max(high, values[index]); }
      }
      if (low > high) continue;
      const room = isLog ? Math.max(Math.log(high / low) * 0.08, 0.01) : Math.max((high - low) * 0.08, Math.abs(high) * 1e-3, 1e-6);
      const top = key === "drawdown" ? 0 : isLog ? high * Math.exp(room) : high + room;
      figure.y_range.setv({start: isLog ? low * Math.exp(-room) : low - room, end: top});
    }
  }

  function zoomTo(start, end) {
    const first = dates[0], last = dates[dates.length - 1], width = Math.min(Math.max(end - start, 10 * DAY), last - first);
    const from = Math.min(Math.max(start, first), last - width);
    xRange.setv({start: from, end: from + width});
  }
  function showAll() { xRange.setv({start: dates[0], end: dates[dates.length - 1]}); }
  const isWhole = () => !dates || (xRange.start <= dates[0] && xRange.end >= dates[dates.length - 1]);

  function showTicker(name) {
    ticker = data.tickers.find(other => other.ticker === name) || data.tickers[0];
    tickerColumns = decode(ticker.buffer, ticker.columns);
    contributions = decode(ticker.buffer, ticker.contributions);
    const spans = trades.show(ticker.ticker, dates, decode(ticker.buffer, ticker.trades), tickerColumns.price);
    for (const side of ["long", "short"]) strips[side].data = spans[side];
    const positive = values => values.map(value => value > 0 ? value : NaN);
    const drawn = {x: dates, ...runColumns, ...tickerColumns};
    for (const name of charts.equity.names) drawn[name] = positive(runColumns[name]);
    source.data = drawn;
    for (const [key, texts] of Object.entries({...ticker.charts, ...data.charts})) describeChart(find(key), texts);
    fitHeights();
    if (selected >= dates.length || selected < 0) selected = dates.length - 1;
    showSession();
  }

  async function update(newData) {
    const [buffer, ...buffers] = await Promise.all([newData, ...newData.tickers].map(async ({numbers}) => (await inflate(numbers)).arrayBuffer()));
    newData.tickers.forEach((one, index) => { one.buffer = buffers[index]; });
    const formerBenchmark = data?.benchmark, wasWhole = isWhole(), time = dates && selected >= 0 ? dates[selected] : NaN, name = ticker && ticker.ticker;
    if (data) holdHidden();
    data = newData;
    dates = Float64Array.from(column(buffer, data.dates), day => day * DAY);
    runColumns = decode(buffer, data.columns);
    const menu = find("ticker");
    const names = requestTicker ? data.ticker_names : data.tickers.map(one => one.ticker);
    if (menu.options.length !== names.length || names.some((text, index) => menu.options[index].value !== text))
      menu.replaceChildren(...names.map(text => new Option(text, text)));
    menu.closest("label").hidden = names.length < 2;
    find("remark").textContent = data.remark;
    Object.assign(find("session"), {min: 0, max: dates.length - 1});
    if (known(time)) selected = nearest(time);
    showTicker(name);
    if (wasWhole) showAll();
    menu.value = ticker.ticker;
    if (data.benchmark !== formerBenchmark) applyTheme();
  }

  const middle = () => (xRange.start + xRange.end) / 2, width = () => xRange.end - xRange.start;
  const actions = {
    in: () => zoomTo(middle() - width() / 4, middle() + width() / 4),
    out: () => zoomTo(middle() - width(), middle() + width()),
    earlier: () => zoomTo(xRange.start - width() / 2, xRange.end - width() / 2),
    later: () => zoomTo(xRange.start + width() / 2, xRange.end + width() / 2),
    all: showAll,
  };
  for (const [name, act] of Object.entries(actions)) find(name).addEventListener("click", act);
  find("session").addEventListener("input", event => {
    select(Number(event.target.value));
    const time = dates[selected];
    if (time < xRange.start || time > xRange.end) zoomTo(time - width() / 2, time + width() / 2);
  });
  find("ticker").addEventListener("change", ({target: menu}) => {
    if (data.tickers.some(one => one.ticker === menu.value)) showTicker(menu.value);
    else requestTicker(menu.value).catch(() => { menu.value = ticker.ticker; });  // the program has ended
  });
  xRange.on_change([xRange.properties.start, xRange.properties.end], fitHeights);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);

  await update(firstData);
  const page = new Bokeh.Document(), figures = Object.values(charts).map(({figure}) => figure);
  figures.forEach(figure => page.add_root(figure));
  find("controls").hidden = find("trade-list").hidden = false;
  const places = Object.keys(charts).map(key => find(key).querySelector(".canvas"));
  await Bokeh.embed.add_document_standalone(page, element, places);
  await panels.draw();
  return {update, panels, xRange, charts, select, source, trades, get session() { return isoDate(dates[selected]); }};
};
for (const element of document.querySelectorAll("[data-interactive]")) {
  const text = element.querySelector("script[data-run]");
  if (text) drawInteractiveCharts(element, JSON.parse(text.textContent)).then(charts => { window.interactiveCharts = charts; });
}
