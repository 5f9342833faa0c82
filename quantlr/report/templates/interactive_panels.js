"use strict";
/* Panels on the model: coefficients over the refits on the time axis of the charts, calibration, and rows of features. */
const makePanels = (find, {xRange, coarse, HEIGHT, onHover, showAll}) => {
  const COLORS = ["strategy", "baseline", "green", "short", "purple", "soft", "ink", "gross"];
  const shown = {};  // by key: what was drawn, with its document and views
  let colors = {};

  const source = data => new Bokeh.ColumnDataSource({data});
  const field = name => ({field: name});
  const addHover = (figure, renderer, tooltips, mode) => figure.add_tools(new Bokeh.HoverTool({renderers: [renderer], tooltips, mode, line_policy: "nearest"}));
  const zeroLine = (figure, dimension) => {
    const span = new Bokeh.Span({location: 0, dimension, line_width: 1});
    figure.add_layout(span);
    return {glyph: span, property: "line_color", color: "ink"};
  };

  const makers = {
    /* A line per feature; a name in the legend is a button that shows the 95% interval and dims the others. */
    paths: chart => {
      const range = new Bokeh.Range1d({start: xRange.start, end: xRange.end});
      const [start, end] = chart.limits;
      const figure = newFigure({height: HEIGHT, x_axis_type: "datetime", x_range: range, y_range: new Bokeh.Range1d({start, end}), tools: coarse ? [] : ["xbox_zoom"]});
      const follow = (from, to) => from.on_change([from.properties.start, from.properties.end], () => {
        if (from.start !== to.start || from.end !== to.end) to.setv({start: from.start, end: from.end});
      });
      follow(xRange, range);
      follow(range, xRange);
      const lines = source({}), band = source({x: [], low: [], high: []});
      const area = figure.varea(field("x"), field("low"), field("high"), {source: band, fill_alpha: 0.25}).glyph;
      const glyphs = chart.features.map((label, index) => ({
        glyph: figure.line(field("x"), field(`y${index}`), {source: lines, line_width: 1.6}).glyph, property: "line_color", color: COLORS[index], label,
      }));
      const crosshair = new Bokeh.Span({dimension: "height", location: null, line_width: 1, level: "overlay"});
      figure.add_layout(crosshair);
      for (const event of ["mousemove", "tap"]) figure.on_event(event, ({x}) => { if (known(x)) onHover(x); });
      figure.on_event("doubletap", showAll);
      let chosen = chart.features.length === 1 ? 0 : -1, values = chart;
      const choose = (index, legend) => {
        chosen = index;
        glyphs.forEach(({glyph}, other) => { glyph.line_alpha = index < 0 || index === other ? 1 : 0.25; });
        const column = name => index < 0 ? [] : values[name][index].map(value => value ?? NaN);
        band.data = {x: index < 0 ? [] : values.dates, low: column("low"), high: column("high")};
        area.fill_color = colors[COLORS[Math.max(index, 0)]];
        for (const [other, button] of [...legend.querySelectorAll("button")].entries()) button.setAttribute("aria-pressed", other === index);
      };
      return {
        figure, glyphs: [...glyphs, {glyph: crosshair, property: "line_color", color: "soft"}, zeroLine(figure, "width")], crosshair,
        update: chart => {
          values = chart;
          lines.data = {x: chart.dates, ...Object.fromEntries(chart.coefficients.map((column, index) => [`y${index}`, column.map(value => value ?? NaN)]))};
          [figure.y_range.start, figure.y_range.end] = chart.limits;
        },
        paintLegend: legend => {
          legend.replaceChildren(...labelled(glyphs, colors, text => text));
          for (const [index, item] of [...legend.children].entries()) {
            const button = makeElement("button", "", {type: "button", title: "95% interval"});
            button.append(...item.childNodes);
            button.addEventListener("click", () => choose(index === chosen ? -1 : index, legend));
            item.append(button);
          }
          choose(chosen, legend);
        },
      };
    },
    /* The observed frequency over its band, and the number of forecasts as bars at the foot. */
    calibration: () => {
      const ranges = {x_range: new Bokeh.Range1d(), y_range: new Bokeh.Range1d()};
      const figure = newFigure({height: HEIGHT + 60, ...ranges});
      const [band, curve, lines, bins] = [{x: [], low: [], high: [], observed: []}, {x: [], y: []}, {x0: [], y0: [], x1: [], y1: []}, {left: [], right: [], bottom: [], top: []}].map(source);
      const diagonal = source({x: [], y: []});
      const bars = figure.quad(field("left"), field("right"), field("bottom"), field("top"), {source: bins, line_color: null, fill_alpha: 0.5});
      const area = figure.varea(field("x"), field("low"), field("high"), {source: band, fill_alpha: 0.35});
      const perfect = figure.line(field("x"), field("y"), {source: diagonal, line_dash: "dashed"});
      const base = figure.segment(field("x0"), field("y0"), field("x1"), field("y1"), {source: lines, line_width: 1.4});
      const observed = figure.line(field("x"), field("y"), {source: curve, line_width: 2});
      const points = figure.scatter(field("x"), field("observed"), {source: band, fill_alpha: 0, line_alpha: 0, size: 8});
      addHover(figure, points, [["forecast probability", "@x{0.0%}"], ["observed frequency", "@observed{0.0%}"], ["95% band if calibrated", "@low{0.0%} to @high{0.0%}"]], "vline");
      for (const axis of [figure.xaxes[0], figure.yaxes[0]]) {
        axis.formatter = new Bokeh.NumeralTickFormatter({format: "0%"});
        axis.ticker.desired_num_ticks = 5;
      }
      figure.yaxes[0].bounds = [0, 1];
      figure.xaxes[0].axis_label = "forecast probability of up";
      figure.yaxes[0].axis_label = "observed frequency of up";
      const glyphs = [
        {glyph: observed.glyph, property: "line_color", color: "strategy", label: "observed frequency"},
        {glyph: area.glyph, property: "fill_color", color: "soft", label: "95% band if calibrated"},
        {glyph: perfect.glyph, property: "line_color", color: "ink", label: "perfect calibration"},
        {glyph: base.glyph, property: "line_color", color: "baseline", label: "base rate"},
        {glyph: bars.glyph, property: "fill_color", color: "soft", label: "number of forecasts"},
      ];
      return {
        figure, glyphs,
        update: chart => {
          const [left, right] = chart.x_limits, [low, high] = chart.y_limits, {edges, count} = chart.bins;
          const bottom = low - 0.2 * (high - low), unit = 0.17 * (high - low) / Math.max(...count, 1);
          ranges.x_range.setv({start: left, end: right});
          ranges.y_range.setv({start: bottom, end: high});
          band.data = chart.band;
          curve.data = chart.curve;
          diagonal.data = {x: [left, right], y: [left, right]};
          lines.data = {x0: [chart.base_rate], x1: [chart.base_rate], y0: [bottom], y1: [high]};
          bins.data = {left: edges.slice(0, -1), right: edges.slice(1), bottom: count.map(() => bottom), top: count.map(value => bottom + unit * value)};
        },
      };
    },
    /* A row per feature: a bar, or a point with its interval; coloured where it is significant. */
    rows: chart => {
      const n = chart.names.length, positions = chart.names.map((_, index) => index);
      const figure = newFigure({height: 56 + 26 * n, y_range: new Bokeh.Range1d({start: n - 0.4, end: -0.6})});
      const [yAxis] = figure.yaxes, limit = Math.max(12, Math.floor(find("price").clientWidth * 0.35 / 7));
      yAxis.ticker = new Bokeh.FixedTicker({ticks: positions});
      yAxis.major_label_overrides = new Map(chart.names.map((name, index) => [index, name.length > limit ? `${name.slice(0, limit - 1)}…` : name]));
      figure.ygrids[0].visible = false;
      figure.xgrids[0].visible = true;
      figure.xaxes[0].ticker.desired_num_ticks = 5;
      const rows = source({}), tooltips = [["feature", "@name"], ["value", "@text"]];
      const style = {source: rows, fill_color: field("color"), line_color: field("color")};
      if (chart.low) {
        figure.segment(field("low"), field("y"), field("high"), field("y"), {source: rows, line_color: field("color"), line_width: 2});
        tooltips.push(["95% interval", "@low{0.0000} to @high{0.0000}"]);
      }
      const main = chart.low ? figure.scatter(field("value"), field("y"), {...style, size: 8})
        : figure.hbar(field("y"), 0.55, field("value"), 0, {...style, line_color: null});
      addHover(figure, main, tooltips, chart.low ? "hline" : "mouse");
      return {
        figure, glyphs: [zeroLine(figure, "height")],
        update: chart => {
          const interval = chart.low ? {low: chart.low.map(value => value ?? NaN), high: chart.high.map(value => value ?? NaN)} : {};
          rows.data = {
            y: positions, value: chart.values, name: chart.names, text: chart.texts, ...interval,
            color: chart.significant.map(isSignificant => colors[isSignificant ? "strategy" : "soft"]),
          };
        },
        paintLegend: legend => legend.replaceChildren(...labelled(
          [{color: "strategy", label: "significant (5%)"}, {color: "soft", label: "not significant"}], colors, text => text)),
      };
    },
  };

  const paintPanel = (key, {figure, glyphs, paintLegend, update, chart}) => {
    paintFigure(figure, glyphs, colors);
    update(chart);
    const legend = find(key).querySelector(".legend");
    if (paintLegend) paintLegend(legend);
    else legend.replaceChildren(...labelled(glyphs, colors, text => text));
  };

  async function drawPanel(key, chart) {
    const place = find(key).querySelector(".canvas"), signature = chart && JSON.stringify([chart.kind, chart.features ?? chart.names ?? "", !!chart.low]);
    place.hidden = !chart;
    let panel = shown[key];
    if (panel && panel.signature !== signature) {
      panel.views.clear();
      place.replaceChildren();
      find(key).querySelector(".legend").replaceChildren();
      delete shown[key];
      panel = undefined;
    }
    if (!chart) return;
    if (panel) return paintPanel(key, Object.assign(panel, {chart}));
    panel = shown[key] = {...makers[chart.kind](chart), signature, chart};
    paintPanel(key, panel);
    const page = new Bokeh.Document();
    page.add_root(panel.figure);
    panel.views = await Bokeh.embed.add_document_standalone(page, place, [place]);
  }

  return {
    paint: newColors => {
      colors = {...newColors, green: "#009E73", purple: "#CC79A7"};
      for (const [key, panel] of Object.entries(shown)) paintPanel(key, panel);
    },
    showSession: time => { for (const {crosshair} of Object.values(shown)) if (crosshair) crosshair.location = time; },
    /* Draw the panels that came with the page. */
    draw: async () => {
      for (const key of ["coefficients", "calibration", "worth"]) {
        const text = find(key).querySelector("script");
        if (text) await drawPanel(key, JSON.parse(text.textContent));
      }
    },
    /* Take newer panels, by key. */
    update: async panels => {
      for (const [key, panel] of Object.entries(panels)) {
        describeChart(find(key), panel);
        await drawPanel(key, panel.chart);
      }
    },
    shown,
  };
};
