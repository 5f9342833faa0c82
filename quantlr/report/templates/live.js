"use strict";
/* The live page: parts come as server-sent events and replace their elements; charts keep zoom and session. */
{
  const section = document.querySelector("[data-charts]"), texts = new Set(["status", "title", "setup", "tables_status"]);
  const panel = document.querySelector("[data-controls]"), controls = liveControls(panel.querySelector("[data-live=controls]"));
  panel.open = matchMedia("(min-width: 70rem)").matches;
  const showCharts = async data => {
    section.hidden = false;
    if (window.interactiveCharts) await window.interactiveCharts.update(data);
    else window.interactiveCharts = await drawInteractiveCharts(section, data, ticker => postJson("ticker", {ticker}));
  };
  /* Those of other forecasts are pale until the new ones, which take longer, are there. */
  const showPanels = async panels => {
    if (panels) await window.interactiveCharts.panels.update(JSON.parse(panels));
    section.classList.toggle("pending", !panels);
  };
  const show = async ({charts, panels, controls: html, values, ...others}) => {
    if (html) controls.showHtml(html);
    if (values) controls.showValues(JSON.parse(values));
    if (charts) await showCharts(JSON.parse(charts));
    if (panels !== undefined) await showPanels(panels);
    for (const [name, value] of Object.entries(others)) {
      const element = document.querySelector(`[data-live="${name}"]`);
      if (texts.has(name)) element.textContent = value;
      else element.innerHTML = value;
    }
  };
  const events = new EventSource("events");
  let isShown = Promise.resolve();
  events.addEventListener("message", event => {
    const parts = JSON.parse(event.data);
    isShown = isShown.then(() => show(parts)).then(() => requestAnimationFrame(() => setTimeout(() => {  // after the frame is painted
      window.paintedAt = Date.now();
      if (parts.charts) window.chartsPaintedAt = window.paintedAt;
    }))).catch(console.error);  // so that the next parts are shown
  });
  events.addEventListener("error", () => show({status: "not connected: quantlr watch has ended, or is starting again"}));
}
