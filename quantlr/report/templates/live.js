"use strict";
/* The live page: parts come as server-sent events and replace their elements; charts keep zoom and session. */
{
  const section = document.querySelector("[data-charts]"), texts = new Set(["status", "title", "setup", "tables_status"]);
  const panel = document.querySelector("[data-controls]"), controls = liveControls(panel.querySelector("[data-live=controls]"));
  panel.open = matchMedia("(min-width: 70rem)").matches;
  const special = {
    charts: text => {
      const data = JSON.parse(text);
      section.hidden = false;
      if (window.interactiveCharts) window.interactiveCharts.update(data);
      else window.interactiveCharts = drawInteractiveCharts(section, data);
    },
    controls: controls.showHtml,
    values: text => controls.showValues(JSON.parse(text)),
  };
  const show = parts => {
    for (const [name, value] of Object.entries(parts)) {
      const element = document.querySelector(`[data-live="${name}"]`);
      if (special[name]) special[name](value);
      else if (texts.has(name)) element.textContent = value;
      else element.innerHTML = value;
    }
  };
  const events = new EventSource("events");
  events.addEventListener("message", event => {
    const parts = JSON.parse(event.data);
    show(parts);
    requestAnimationFrame(() => setTimeout(() => {  // after the frame is painted
      window.paintedAt = Date.now();
      if (parts.charts) window.chartsPaintedAt = window.paintedAt;
    }));
  });
  events.addEventListener("error", () => show({status: "not connected: quantlr watch has ended, or is starting again"}));
}
