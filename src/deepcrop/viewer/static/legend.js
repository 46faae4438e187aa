// The legend of a view: calendar dates, days, percent or names.

import { dateText, monthTicks } from "./days.js";
import { classColours, flagColours, shade } from "./paint.js";
import { FORECAST, NOT_YET_KNOWN } from "./status.js";

const percent = (share) => (share > 0 && share < 0.01 ? "<1 %" : share < 1 && share > 0.99 ? ">99 %" : `${Math.round(100 * share)} %`);
const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

/** A value of a view as text, with what it is in a map in season. */
export function valueText(legend, value, status) {
  if (status === FORECAST && value !== null) return `${valueText(legend, value)} (forecast)`;
  if (status === NOT_YET_KNOWN && value === null) return "not yet known";
  if (value === null) return legend.kind === "day" ? "no date" : "no data";
  if (legend.kind === "day") return dateText(value, true);
  if (legend.classes) return legend.classes.find((item) => item.value === value)?.name ?? `code ${value}`;
  if (legend.kind === "flags") {
    return legend.flags.filter((flag) => value & flag.bit).map((flag) => flag.name).join(", ") || "none";
  }
  if (legend.kind === "percent") return `${value} %`;
  if (legend.kind === "difference") return `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value)} days`;
  if (legend.kind === "measure") return `${Number((value * legend.scale).toPrecision(3))}${legend.unit === "1" ? "" : ` ${legend.unit}`}`;
  return legend.kind === "width" || legend.kind === "length" ? `${value} days` : String(value);
}

function ticksOf(legend, width) {
  const [low, high] = legend.range;
  if (legend.kind === "day") return monthTicks(low, high, Math.max(2, Math.floor(width / 55)), true);
  const middle = Math.round((low + high) / 2);
  const ticks = middle === low || middle === high ? [low, high] : [low, middle, high];
  const open = { difference: ["≤ ", "≥ "], measure: ["≤ ", "≥ "], width: ["", "≥ "], length: ["", "≥ "] }[legend.kind] ?? ["", ""]; // the end colours include all values beyond
  return ticks.map((value) => [value, (value === low ? open[0] : value === high ? open[1] : "") + valueText(legend, value)]);
}

const SWATCHES = { observed: "", forecast: "hatched", "not yet known": "dotted", "no event": "empty" };

/** How a map in season shows what a date is, and the share of the pixels. */
function statusKey({ status, palette }) {
  const left = 1 - Object.values(status).reduce((sum, share) => sum + share, 0);
  const rows = Object.entries(SWATCHES).filter(([name]) => status[name] > 0);
  const items = rows.map(([name, look]) => `<li><i class="${look}" style="background-color:${look === "" || look === "hatched" ? shade(palette, 0.5) : "transparent"}"></i>${name} <span>${percent(status[name])}</span></li>`);
  if (left > 0.0005) items.push(`<li><i class="empty"></i>no data <span>${percent(left)}</span></li>`);
  return `<ul class="states">${items.join("")}</ul>`;
}

/** Draw a legend into an element. `day` is the day of the date filter, or null. */
export function draw(element, legend, day) {
  const missing = legend.kind === "day" ? "no date" : "no data";
  const gap = legend.status ? statusKey(legend) : legend.missing > 0 ? `<p class="gap">${missing}: ${percent(legend.missing)}</p>` : "";
  if (legend.classes || legend.flags) {
    const all = legend.classes ? classColours(legend) : flagColours(legend).filter((flag) => flag.share > 0);
    const named = all.filter((item) => !item.isOther);
    const others = all.filter((item) => item.isOther);
    if (others.length) {
      named.push({ colour: others[0].colour, name: `other (${others.length})`, share: others.reduce((sum, item) => sum + item.share, 0) });
    }
    const rows = named.map(
      ({ colour, name, share }) => `<li><i style="background:${colour}"></i>${escaped(name)} <span>${percent(share)}</span></li>`,
    );
    element.innerHTML = `<h2>${escaped(legend.title)}</h2><ul>${rows.join("")}</ul>${!legend.flags ? "" : rows.length ? '<p class="gap">the first flag of a pixel gives its colour</p>' : '<p class="gap">no pixel has a flag</p>'}${gap}`;
    return;
  }
  const [low, high] = legend.range;
  const place = (value) => (100 * (value - low)) / (high - low || 1);
  const largest = Math.max(...legend.histogram, 1);
  const width = 100 / legend.histogram.length;
  const bars = legend.histogram.map((count, k) => {
    const later = day !== null && low + ((k + 0.5) * (high - low)) / legend.histogram.length > day;
    const height = (22 * count) / largest;
    return `<rect x="${k * width}" y="${22 - height}" width="${width * 0.92}" height="${height}" opacity="${later ? 0.25 : 1}"/>`;
  });
  const stops = Array.from({ length: 17 }, (_, k) => shade(legend.palette, k / 16));
  const until = day === null ? "" : `<b style="left:${Math.min(100, Math.max(0, place(day)))}%"></b>`;
  const cover = day === null ? "" : `<u style="left:${Math.min(100, Math.max(0, place(day)))}%"></u>`;
  const ticks = ticksOf(legend, element.clientWidth).map(([value, label]) => {
    const end = place(value) < 8 ? "first" : place(value) > 92 ? "last" : "";
    return `<span class="${end}" style="left:${place(value)}%">${label}</span>`;
  });
  element.innerHTML = `<h2>${escaped(legend.title)}</h2>
    <svg viewBox="0 0 100 22" preserveAspectRatio="none" aria-hidden="true">${bars.join("")}</svg>
    <div class="strip" style="background:linear-gradient(90deg,${stops.join(",")})">${cover}${until}</div>
    <div class="ticks">${ticks.join("")}</div>${gap}`;
}
