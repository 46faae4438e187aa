// The panel of a field or of a drawn area: dates of all its pixels, and their series.

import { seriesChart } from "./chart.js";
import { shortDate } from "./days.js";
import { axisOf, escaped, HEADS, knownUntil, marksOf, METHODS, NAMES } from "./panel.js";
import { json, path } from "./server.js";
import { dateCell, dot } from "./status.js";

const percent = (share) => (share > 0 && share < 0.005 ? "<1\u00a0%" : `${Math.round(100 * share)}\u00a0%`);
const RANGES = { ndvi: [0, 0.9], evi: [0, 0.7], evi2: [0, 0.7], gcc: [0.32, 0.42] };

const queryOf = ({ at, polygon }) => (polygon ? `polygon=${polygon.map((corner) => corner.map((v) => v.toFixed(7)).join(",")).join(";")}` : `at=${at.join(",")}`);

export class AreaPanel {
  constructor(element, result, closed) {
    Object.assign(this, { element, result, closed });
    new ResizeObserver(() => this.#charts()).observe(element);
  }

  /** Open a field, {at: [lon, lat]}, or a drawn area, {polygon: corners}; resolves to its summary. */
  async open(wanted) {
    this.coming?.abort();
    this.coming = new AbortController();
    const { signal } = this.coming;
    const query = queryOf(wanted);
    const area = await json(path(`api/area?${query}`), signal);
    Object.assign(this, { area, read: null, why: null });
    this.element.hidden = false;
    this.#frame(query);
    if (this.result.cube) {
      json(path(`api/area/series?${query}`), signal)
        .then((read) => (this.read = read))
        .catch((error) => (this.why = error.message))
        .then(() => !signal.aborted && this.#charts());
    }
    return area;
  }

  /** Give the place to another panel. */
  leave() {
    this.coming?.abort();
    this.area = null;
  }

  #frame(query) {
    const { name, pixels, hectares, crops, dates } = this.area;
    const facts = [`${pixels.toLocaleString("en")} pixels, ${hectares} ha`, ...crops.map((crop) => `${crop.name} ${percent(crop.share)}`)];
    const seasons = [...new Set(dates.map((item) => item.season))].sort();
    const tables = seasons.flatMap((season) => METHODS.map((method) => this.#dates(season, method)));
    this.element.innerHTML = `
      <div class="head"><h2>${escaped(name[0].toUpperCase() + name.slice(1))}</h2>
        ${this.result.simulated ? '<strong class="simulated">Simulated data</strong>' : ""}
        <a class="button" download href="${path("api/area.csv")}?${query}">CSV</a>
        <button type="button" class="close" aria-label="Close the area">✕</button></div>
      <p class="facts">${facts.map(escaped).join(" · ")}</p>
      ${tables.join("")}
      <p class="hint">Date: median of the pixels that have one, below it the medians of the ends of their 90 % intervals. Spread: half of the pixels lie between.</p>
      <div class="charts"></div>`;
    this.element.querySelector(".close").addEventListener("click", () => this.closed());
    this.#charts();
  }

  #dates(season, method) {
    const mine = this.area.dates.filter((item) => item.season === season && item.method === method);
    if (!mine.length || (season > 1 && mine.every((item) => item.day === null))) return "";
    const title = { 1: "Main season", 2: "Second season" }[season] ?? `Season ${season}`;
    const inSeason = mine.some((item) => item.status);
    const rows = mine.map((item) => {
      const { stage, q25, q75, share, status, forecast } = item;
      // A median with forecasts among its dates is a forecast; without any date it is what most pixels are.
      const most = status && Object.entries(status).reduce((best, one) => (one[1] > best[1] ? one : best))[0];
      const state = !status ? undefined : item.day === null ? most : forecast ? "forecast" : "observed";
      const words = status ? Object.entries(status).filter(([, part]) => part > 0).map(([word, part]) => `${word} ${percent(part)}`).join(", ") : percent(share);
      const spread = q25 === null ? "" : `${shortDate(q25)} – ${shortDate(q75)}`;
      return `<tr><th scope="row" title="${escaped(this.result.stages[stage])}">${dot(stage, [state])}${stage === "peak" ? "Peak" : stage.toUpperCase()}</th>
        <td>${dateCell({ ...item, status: state }, shortDate)}</td><td>${spread}</td><td class="words">${escaped(words)}</td></tr>`;
    });
    return `<table class="area"><caption>${title}, ${HEADS[method].toLowerCase()}</caption><thead><tr><td></td><th scope="col">Date</th><th scope="col">Spread</th><th scope="col">${inSeason ? "Pixels" : "With a date"}</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
  }

  #charts() {
    const place = this.element.querySelector(".charts");
    if (!place || !this.area) return;
    const said = !this.result.cube ? "Start the viewer with --cube to see time series here." : (this.why ?? (this.read ? null : "Reading the time series …"));
    if (said) {
      place.innerHTML = `<p class="hint busy">${escaped(said)}</p>`;
      return;
    }
    const { pixels, series } = this.read;
    const { until } = this.result;
    const marks = marksOf(this.area.dates).map((item) => ({ ...item, status: item.status && (item.forecast ? "forecast" : "observed") }));
    const axis = axisOf(series.flatMap((track) => track.days), marks, until, place.clientWidth);
    const parts = [`<p class="hint">Points: median of ${pixels === this.area.pixels ? "all" : pixels} pixels; bars: from 10 to 90 % of them. Vertical lines: median dates of the main season (solid: network, dashed: curve).</p>`];
    if (until) parts.push(`<p class="hint">${knownUntil(until)}</p>`);
    const chart = (title, tracks, range) => {
      const values = tracks.flatMap((track) => [...track.low, ...track.high]).filter((v) => v !== null);
      const limits = values.length ? [Math.min(...values, ...range), Math.max(...values, ...range)] : range.length ? range : [-25, -5];
      parts.push(`<h3>${title}</h3>`);
      parts.push(
        seriesChart(axis, {
          label: `${title.replace(/<[^>]*>/g, " ")} of the area over time`,
          height: 140,
          range: limits,
          marks,
          bars: tracks.map((track) => ({ ...track, name: `seen-${track.name}` })),
          points: tracks.map((track) => ({ days: track.days, values: track.median, name: `seen-${track.name}` })),
        }),
      );
    };
    for (const track of series.filter((one) => RANGES[one.name])) chart(NAMES[track.name], [track], RANGES[track.name]);
    const radar = series.filter((one) => one.unit === "dB");
    if (radar.length) chart('Radar, dB <small><span class="key seen-vv">VV</span><span class="key seen-vh">VH</span></small>', radar, []);
    place.innerHTML = parts.join("");
  }
}
