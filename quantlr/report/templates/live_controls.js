"use strict";
/* Controls of the live page: a change is posted, and written to the file; what they show is what is in the file. */
const postJson = (path, value) => fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(value)});
const liveControls = panel => {
  let html = "", values = {};
  const rows = () => panel.querySelectorAll("[data-key]");
  const fieldOf = row => row.querySelector("input[type=text], select"), sliderOf = row => row.querySelector("[type=range]");

  const numberAt = ({value, dataset}) => {
    const low = Number(dataset.minimum), range = Number(dataset.maximum) - low;
    const number = low + range * (value / 1000) ** Number(dataset.exponent);
    if ("integer" in dataset) return String(Math.round(number));
    const rounded = Number(dataset.exponent === "1" ? number.toFixed(3) : number.toPrecision(2));
    return Number.isInteger(rounded) ? rounded.toFixed(1) : String(rounded);
  };
  const moveSlider = (slider, number) => {
    const low = Number(slider.dataset.minimum), range = Number(slider.dataset.maximum) - low;
    slider.value = 1000 * ((number - low) / range) ** (1 / Number(slider.dataset.exponent));
  };

  const show = row => {
    const [value, origin] = values[row.dataset.key] ?? ["", ""], slider = sliderOf(row);
    fieldOf(row).value = value;
    row.querySelector("[data-origin]").textContent = origin;
    if (slider) moveSlider(slider, Number(value));
  };
  const showError = (row, text) => {
    const place = row.querySelector(".error");
    place.textContent = text;
    place.hidden = !text;
    fieldOf(row).setAttribute("aria-invalid", String(Boolean(text)));
  };
  const save = async row => {
    const {key} = row.dataset, value = fieldOf(row).value.trim();
    if (value === values[key]?.[0]) return showError(row, "");
    let error = "";
    try {
      const answer = await postJson("value", {key, value});
      error = answer.ok ? (await answer.json()).error : `not saved: ${answer.status} ${await answer.text()}`;
    } catch {
      error = "not saved: quantlr watch does not answer";
    }
    const current = [...rows()].find(other => other.dataset.key === key);
    if (!current) return;
    if (error) show(current);
    else values[key] = [value, ""];
    showError(current, error);
  };

  panel.addEventListener("change", event => save(event.target.closest("[data-key]")));
  panel.addEventListener("input", ({target}) => {
    if (target.type === "range") fieldOf(target.closest("[data-key]")).value = numberAt(target);
  });
  return {
    showHtml(newHtml) {
      if (newHtml === html) return;
      const focused = panel.contains(document.activeElement) ? document.activeElement : null;
      const key = focused?.closest("[data-key]")?.dataset.key;
      panel.innerHTML = html = newHtml;
      rows().forEach(show);
      const row = [...rows()].find(other => other.dataset.key === key);
      if (row) (focused.type === "range" && sliderOf(row) || fieldOf(row)).focus();
    },
    showValues(newValues) {
      const former = values;
      values = newValues;
      for (const row of rows()) {
        const isEdited = row.contains(document.activeElement) && fieldOf(row).value !== former[row.dataset.key]?.[0];
        if (!isEdited) show(row);
      }
    },
  };
};
