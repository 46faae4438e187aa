// The panel of the clicked pixel: dates by each method, time series, distributions, download.

import { distributionChart, seriesChart, TimeAxis } from "./chart.js";
import { dateText, dayOf, isoOf, shortDate } from "./days.js";
import { json, path } from "./server.js";
import { dateCell, dot } from "./status.js";

export const METHODS = ["deepcrop", "curve", "truth"];
export const HEADS = { deepcrop: "Network", curve: "Curve", truth: "Truth" };
export const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
export const NAMES = { ndvi: "NDVI", evi: "EVI", evi2: "EVI2", gcc: "GCC", camera_gcc: "camera", vv: "VV", vh: "VH" };
const DIGITS = { ndvi: 2, evi: 2, evi2: 2, gcc: 3, camera_gcc: 3, vv: 1, vh: 1 };

const get = (what, [lon, lat], signal) => json(path(`api/${what}?lon=${lon}&lat=${lat}`), signal);

/** "2018-06-15" as words of a hint. */
export const knownUntil = (until) => `Grey: after ${dateText(dayOf(until), true)}, the last day of which observations were read. Hollow marks with a bar: forecasts with their 90 % interval.`;

/** Dates of the main season as marks of a chart. */
export const marksOf = (dates) =>
  dates
    .filter((item) => item.method !== "truth" && item.season === 1 && item.day !== null && item.day !== undefined)
    .map((item) => ({ ...item, name: `${item.stage} ${item.method}` }));

/** The time axis of the charts: all observations, and in a map in season its forecasts. */
export function axisOf(days, marks, until, width) {
  const later = until ? [dayOf(until), ...marks.flatMap(({ day, high }) => [day, high ?? day])] : [];
  const shown = [...days, ...later];
  const axis = new TimeAxis(Math.max(-200, Math.min(...shown)) - 4, Math.min(560, Math.max(...shown)) + 4, Math.max(260, width));
  axis.until = until ? dayOf(until) : null;
  return axis;
}

export class Panel {
  /** `closed` is called by the button that closes the panel, `openField` by the one of its field. */
  constructor(element, result, closed, openField) {
    Object.assign(this, { element, result, closed, openField });
    element.addEventListener("pointermove", (event) => this.#point(event));
    element.addEventListener("pointerleave", () => this.#cursor(null));
    element.addEventListener("keydown", (event) => this.#step(event));
    new ResizeObserver(() => this.#charts()).observe(element);
  }

  /** Open the pixel at a place; resolves to its data. */
  async open(place) {
    this.coming?.abort();
    this.coming = new AbortController();
    const { signal } = this.coming;
    Object.assign(this, { tracks: null, prediction: null, why: null, cursor: null });
    const pixel = await get("pixel", place, signal);
    this.pixel = pixel;
    this.element.hidden = false;
    this.#frame();
    if (this.result.cube) {
      const fill = (promise, name) =>
        promise
          .then((content) => (this[name] = content))
          .catch((error) => {
            if (error.name !== "AbortError") (this.why ??= {})[name] = error.message;
          })
          .then(() => !signal.aborted && this.#charts());
      this.done = Promise.all([fill(get("series", place, signal), "tracks"), fill(get("distribution", place, signal), "prediction")]);
    }
    return pixel;
  }

  close() {
    this.leave();
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  /** Give the place to another panel. */
  leave() {
    this.coming?.abort();
    this.pixel = null;
  }

  #frame() {
    const { row, col, lon, lat, field, camera, others } = this.pixel;
    const crop = others.find((item) => item.key.endsWith("crop_type") && item.value);
    const facts = [
      `row ${row}, column ${col}`,
      `${lat.toFixed(5)}, ${(((lon + 540) % 360) - 180).toFixed(5)}`,
      field && `field ${field}`,
      camera && `in view of ${camera}`,
    ].filter(Boolean);
    const name = crop ? crop.text[0].toUpperCase() + crop.text.slice(1) : "Pixel";
    this.element.innerHTML = `
      <div class="head"><h2>${escaped(name)}</h2>
        ${this.result.simulated ? '<strong class="simulated">Simulated data</strong>' : ""}
        ${this.result.fields ? `<button type="button" class="field" title="All pixels of this field">Field</button>` : ""}
        <a class="button" download href="${path("api/pixel.csv")}?lon=${lon}&lat=${lat}">CSV</a>
        <button type="button" class="close" aria-label="Close the pixel">✕</button></div>
      <p class="facts">${facts.map(escaped).join(" · ")}</p>
      ${[...new Set(this.pixel.dates.map((item) => item.season))].sort().map((season) => this.#dates(season)).join("")}
      <div class="charts" tabindex="0" role="group" aria-label="Time series; arrow keys move along them"></div>
      <p class="facts reading" aria-live="polite"></p>
      ${this.#others()}`;
    this.element.querySelector(".close").addEventListener("click", () => this.closed());
    this.element.querySelector(".field")?.addEventListener("click", () => this.openField([lon, lat]));
    this.#charts();
  }

  #dates(season) {
    const mine = this.pixel.dates.filter((item) => item.season === season);
    const methods = METHODS.filter((method) => mine.some((item) => item.method === method));
    if (!methods.length) return "";
    const title = { 1: "Main season", 2: "Second season" }[season] ?? `Season ${season}`;
    if (season > 1 && mine.every((item) => (item.day ?? null) === null)) {
      if (mine.some((item) => item.status === "not yet known")) return season === 2 ? '<p class="facts">Second season: not yet known.</p>' : "";
      return season === 2 ? `<p class="facts">No second season in ${this.result.year_label}.</p>` : "";
    }
    const stages = Object.keys(this.result.stages).filter((stage) => mine.some((item) => item.stage === stage));
    const cells = (stage, method) => {
      const item = mine.find((found) => found.stage === stage && found.method === method) ?? {};
      const share = item.probability ?? null;
      const likely = method === "deepcrop" ? `<td>${share === null ? "" : `${share} %`}</td>` : "";
      return `<td>${dateCell(item, shortDate)}</td>${likely}`;
    };
    const heads = methods.map((m) => `<th scope="col">${HEADS[m]}</th>${m === "deepcrop" ? '<th scope="col">Probability</th>' : ""}`);
    const rows = stages.map(
      (stage) => `<tr><th scope="row" title="${escaped(this.result.stages[stage])}">${dot(stage, mine.filter((item) => item.stage === stage).map((item) => item.status))}${stage === "peak" ? "Peak" : stage.toUpperCase()}</th>${methods.map((m) => cells(stage, m)).join("")}</tr>`,
    );
    return `<table><caption>${title} <small>with 90 % intervals</small></caption><thead><tr><td></td>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
  }

  #others() {
    const methods = METHODS.filter((method) => this.pixel.others.some((item) => item.method === method));
    const titles = [...new Set(this.pixel.others.filter((item) => item.method).map((item) => item.title))];
    if (!titles.length) return "";
    const said = (title, method) => this.pixel.others.find((item) => item.title === title && item.method === method)?.text ?? "";
    const rows = titles.map((title) => `<tr><th scope="row">${escaped(title)}</th>${methods.map((m) => `<td>${escaped(said(title, m))}</td>`).join("")}</tr>`);
    const heads = methods.map((m) => `<th scope="col">${HEADS[m]}</th>`);
    return `<table class="others"><caption>Other layers</caption><thead><tr><td></td>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
  }

  #charts() {
    const place = this.element.querySelector(".charts");
    if (!place || !this.pixel) return;
    if (!this.result.cube) {
      place.innerHTML = '<p class="hint">Start the viewer with --cube to see time series and the distributions of the network here.</p>';
      return;
    }
    if (!this.tracks && !this.why?.tracks) {
      place.innerHTML = '<p class="hint busy">Reading the time series …</p>';
      return;
    }
    if (!this.tracks) {
      place.innerHTML = `<p class="hint">${escaped(this.why.tracks)}</p>`;
      return;
    }
    const of = (name) => this.tracks.find((track) => track.name === name);
    const observed = ["ndvi", "vv", "camera_gcc"].map(of).filter(Boolean);
    const { until } = this.result;
    const marks = marksOf(this.pixel.dates);
    const days = observed.flatMap((track) => track.days);
    const axis = axisOf(days, marks, until, place.clientWidth);
    this.axis = axis;
    const parts = marks.length ? ['<p class="hint">Vertical lines: dates of the main season (solid: network, dashed: curve).</p>'] : [];
    if (until) parts.push(`<p class="hint">${knownUntil(until)}</p>`);
    const greenness = (name, height, fallback) => {
      const track = of(name);
      if (!track) return;
      const curve = of(`${name}_curve`);
      const camera = name === "gcc" ? of("camera_gcc") : null;
      const masked = track.days.flatMap((day, k) => (track.values[k] === null ? [[day, track.notes[k] === "no data" ? "unseen" : "masked"]] : []));
      const values = [track, curve, camera].flatMap((item) => item?.values ?? []).filter((v) => v !== null);
      const range = values.length ? [Math.min(...values, fallback[0]), Math.max(...values, fallback[1])] : fallback;
      const keys = [
        `<span class="key seen-${name}">clear</span>`,
        '<span class="key masked">masked</span>',
        masked.some(([, kind]) => kind === "unseen") ? '<span class="key unseen">no data</span>' : "",
        curve ? '<span class="key line curve">smoothed</span>' : "",
        camera ? `<span class="key seen-camera">camera (${escaped(this.pixel.camera)})</span>` : "",
      ];
      parts.push(`<h3>${NAMES[name]} <small>${keys.join("")}</small></h3>`);
      parts.push(
        seriesChart(axis, {
          label: `${NAMES[name]} over time: ${track.values.filter((v) => v !== null).length} clear and ${masked.length} masked observations`,
          height,
          range,
          masked,
          marks,
          lines: curve ? [{ ...curve, name: "curve" }] : [],
          points: [{ ...track, name: `seen-${name}` }, ...(camera ? [{ ...camera, name: "seen-camera" }] : [])],
        }),
      );
    };
    greenness("ndvi", 150, [0, 0.9]);
    for (const name of ["evi", "evi2"]) greenness(name, 150, [0, 0.7]); // where the map is made from it
    greenness("gcc", 130, [0.32, 0.42]);
    const [vv, vh] = [of("vv"), of("vh")];
    if (vv) {
      const values = [...vv.values, ...vh.values].filter((v) => v !== null);
      const orbits = [...new Set(vv.notes)];
      const split = (track, name) =>
        (orbits.length ? orbits : [undefined]).map((orbit, k) => ({
          name: `${name} orbit${k % 2}`,
          days: track.days,
          values: track.values.map((v, i) => (orbit === undefined || track.notes[i] === orbit ? v : null)),
        }));
      const keys = orbits.length > 1 ? `<span class="key">filled: ${escaped(orbits[0])}; hollow: ${escaped(orbits.slice(1).join(", "))}</span>` : "";
      parts.push(`<h3>Radar, dB <small><span class="key seen-vv">VV</span><span class="key seen-vh">VH</span>${keys}</small></h3>`);
      parts.push(
        seriesChart(axis, {
          label: `Radar backscatter over time: ${values.length / 2} observations of VV and VH`,
          height: 130,
          range: values.length ? [Math.min(...values), Math.max(...values)] : [-25, -5],
          marks,
          points: [...split(vv, "seen-vv"), ...split(vh, "seen-vh")],
        }),
      );
    }
    parts.push(...this.#distribution(axis));
    place.innerHTML = parts.join("");
    this.#cursor(this.cursor ?? null);
  }

  #distribution(axis) {
    const parts = ["<h3>Distribution of each date (network)</h3>"];
    const why = this.why?.prediction ?? this.prediction?.why;
    if (why) return [...parts, `<p class="hint">${escaped(why)}</p>`];
    if (!this.prediction) return [...parts, '<p class="hint busy">Running the network …</p>'];
    // The second season is drawn only where the map has it: from a probability of one half.
    const likely = this.prediction.distributions.filter((item) => item.probability >= (item.season === 1 ? 0.05 : 0.5));
    if (!likely.length) return [...parts, '<p class="hint">The network predicts no season here.</p>'];
    const stages = [...new Set(this.prediction.distributions.map((item) => item.stage))];
    // As the map says: a date that is not yet known has no median here either.
    const statusOf = ({ stage, season }) => this.pixel.dates.find((item) => item.method === "deepcrop" && item.stage === stage && item.season === season)?.status;
    const prediction = { ...this.prediction, distributions: likely.map((item) => ({ ...item, status: statusOf(item) })) };
    const predicted = stages.filter((stage) => likely.some((item) => item.stage === stage));
    const second = likely.some((item) => item.season === 2);
    const keys = `<small><span class="key">tick: median; bar: 90 % interval; each row scaled to its peak</span>${second ? '<span class="key">dashed: second season</span>' : ""}</small>`;
    parts[0] = parts[0].replace("</h3>", ` ${keys}</h3>`);
    const names = predicted.map((stage) => (stage === "peak" ? "Peak" : stage.toUpperCase()));
    parts.push(distributionChart(axis, prediction, names, "Probability of each day for each stage"));
    if (!this.prediction.weights.of_map && this.result.methods.deepcrop) {
      parts.push(`<p class="hint">The map was made with other weights; these distributions are from the weights of the package (${escaped(this.prediction.weights.title)}).</p>`);
    }
    return parts;
  }

  // The cursor: item day in all charts, with the observations nearest to it ------------------------

  #point(event) {
    const chart = event.target.closest?.("svg.chart");
    if (!chart || !this.axis) return this.#cursor(null);
    return this.#cursor(this.axis.day(event.clientX - chart.getBoundingClientRect().left));
  }

  #step(event) {
    if (!event.target.classList.contains("charts") || !this.axis) return;
    const step = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.#cursor((this.cursor ?? (this.axis.low + this.axis.high) / 2) + step);
  }

  #cursor(day) {
    const inside = day !== null && this.axis && day >= this.axis.low && day <= this.axis.high;
    this.cursor = inside ? day : null;
    for (const line of this.element.querySelectorAll(".cursor")) {
      line.setAttribute("visibility", inside ? "visible" : "hidden");
      if (inside) line.setAttribute("transform", `translate(${this.axis.x(day).toFixed(1)} 0)`);
    }
    const reading = this.element.querySelector(".reading");
    if (!reading) return;
    if (!inside || !this.tracks) {
      reading.textContent = "";
      return;
    }
    const near = ["ndvi", "evi", "evi2", "gcc", "camera_gcc", "vv", "vh"].flatMap((name) => {
      const track = this.tracks.find((item) => item.name === name);
      if (!track) return [];
      let best = -1;
      track.days.forEach((at, k) => {
        if (best < 0 || Math.abs(at - day) < Math.abs(track.days[best] - day)) best = k;
      });
      if (best < 0 || Math.abs(track.days[best] - day) > 10) return [];
      const value = track.values[best];
      const text = value === null ? track.notes[best] || "none" : value.toFixed(DIGITS[name]).replace("-", "−");
      return [`${NAMES[name]} ${text} (${dateText(track.days[best])})`];
    });
    reading.textContent = `${isoOf(day)}: ${near.join(" · ")}`;
  }
}
