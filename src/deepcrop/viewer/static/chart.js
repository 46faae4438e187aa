// Charts over one common time axis, as SVG.

import { monthTicks } from "./days.js";

const LEFT = 40;
const RIGHT = 10;
const AXIS = 18;

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const fixed = (value) => value.toFixed(1);

/** About four round numbers between `low` and `high`. */
function ticksBetween(low, high) {
  const rough = (high - low) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9; tick += step) ticks.push(+tick.toFixed(6));
  return ticks;
}

export class TimeAxis {
  constructor(low, high, width) {
    Object.assign(this, { low, high, width });
  }

  x(day) {
    return LEFT + ((day - this.low) / (this.high - this.low)) * (this.width - LEFT - RIGHT);
  }

  day(x) {
    return this.low + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.high - this.low);
  }

  frame(height, label, body) {
    const { width, until } = this;
    const known = until === null || until === undefined ? "" : fixed(this.x(until));
    // What lies after the last day of which observations were read, is not observed.
    const later = known && `<rect class="later" x="${known}" y="4" width="${fixed(Math.max(0, width - RIGHT - known))}" height="${height - AXIS - 4}"/><path class="until" d="M${known} 4V${height - AXIS}"/>`;
    const months = monthTicks(this.low, this.high, width > 520 ? 10 : 7)
      .map(([day, text]) => {
        const at = fixed(this.x(day));
        return `<path class="grid" d="M${at} 4V${height - AXIS}"/><text x="${at}" y="${height - 4}" text-anchor="middle">${text}</text>`;
      })
      .join("");
    return `<svg class="chart" role="img" aria-label="${escaped(label)}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
      ${later}${months}${body}<path class="cursor" d="M0 4V${height - AXIS}" visibility="hidden"/></svg>`;
  }
}

/** Points and lines over time. `marks` are dates {day, name, stage, status, low, high}, `masked` ticks at the foot, `bars` ranges of a point. */
export function seriesChart(axis, { label, height, range, points = [], lines = [], bars = [], masked = [], marks = [] }) {
  const foot = height - AXIS;
  const [low, high] = range;
  const y = (value) => foot - 6 - ((value - low) / (high - low)) * (foot - 12);
  const scale = ticksBetween(low, high)
    .map((tick) => {
      const at = fixed(y(tick));
      return `<path class="grid" d="M${LEFT} ${at}H${axis.width - RIGHT}"/><text x="${LEFT - 5}" y="${+at + 3.5}" text-anchor="end">${String(tick).replace("-", "−")}</text>`;
    })
    .join("");
  const markLines = marks.map((mark) => markOf(axis, mark, foot)).join("");
  const ranges = bars.map(({ days, low: from, high: to, name }) =>
    from.map((v, k) => (v === null || days[k] < axis.low || days[k] > axis.high ? "" : `<path class="bar ${name}" d="M${fixed(axis.x(days[k]))} ${fixed(y(v))}V${fixed(y(to[k]))}"/>`)).join(""),
  );
  const drawn = lines.map(({ days, values, name }) => {
    const path = values.map((v, k) => (v === null ? "" : `${k && values[k - 1] !== null ? "L" : "M"}${fixed(axis.x(days[k]))} ${fixed(y(v))}`));
    return `<path class="line ${name}" d="${path.join("")}"/>`;
  });
  const dots = points.map(({ days, values, name }) =>
    values
      .map((v, k) => (v === null || days[k] < axis.low || days[k] > axis.high ? "" : `<circle class="${name}" cx="${fixed(axis.x(days[k]))}" cy="${fixed(y(v))}" r="2.600"/>`))
      .join(""),
  );
  const rug = masked.map(([day, name]) => `<path class="${name}" d="M${fixed(axis.x(day))} ${foot - 6}v6"/>`).join("");
  return axis.frame(height, label, `${scale}<g clip-path="inset(0)">${markLines}${rug}${ranges.join("")}${drawn.join("")}${dots.join("")}</g>`);
}

/** A date as a vertical line; in a map in season with a head, filled if observed, hollow and with its interval if forecast. */
function markOf(axis, { day, name, stage, status, low, high }, foot) {
  const at = fixed(axis.x(day));
  const forecast = status === "forecast";
  const line = `<path class="mark ${name}${forecast ? " forecast" : ""}" d="M${at} 4V${foot}"/>`;
  if (!status) return line;
  const reach = forecast && typeof low === "number" ? `<path class="reach ${stage}" d="M${fixed(axis.x(Math.max(low, axis.low)))} 8H${fixed(axis.x(Math.min(high, axis.high)))}"/>` : "";
  return `${line}${reach}<circle class="head ${stage}${forecast ? " open" : ""}" cx="${at}" cy="8" r="3.5"/>`;
}

/** A row for each stage: its distribution scaled to its peak, with 90 % interval and median. */
export function distributionChart(axis, { edges, distributions }, names, label) {
  const row = 34;
  const stages = [...new Set(distributions.map((item) => item.stage))];
  const height = stages.length * row + AXIS + 6;
  const body = distributions.map((item) => {
    const base = (stages.indexOf(item.stage) + 1) * row;
    const largest = Math.max(...item.bins);
    let path = "";
    let open = false;
    item.bins.forEach((share, k) => {
      const visible = share > largest / 200 && edges[k] >= axis.low && edges[k + 1] <= axis.high;
      if (visible) {
        const up = fixed(base - (24 * share) / largest);
        path += `${open ? "L" : `M${fixed(axis.x(edges[k]))} ${base}L`}${fixed(axis.x(edges[k]))} ${up}L${fixed(axis.x(edges[k + 1]))} ${up}`;
      } else if (open) path += `L${fixed(axis.x(edges[k]))} ${base}`;
      open = visible;
    });
    if (open) path += `V${base}`;
    const name = `${item.stage} season${item.season}${item.status === "forecast" ? " forecast" : ""}`;
    const found = item.day === null || item.status === "not yet known" ? "" : `<path class="interval ${name}" d="M${fixed(axis.x(Math.max(item.low, axis.low)))} ${base + 3}H${fixed(axis.x(Math.min(item.high, axis.high)))}"/>
      <path class="median ${name}" d="M${fixed(axis.x(item.day))} ${base - 24}V${base + 5}"/>`;
    return `<path class="spread ${name}" d="${path}"/>${found}`;
  });
  const labels = stages.map(
    (stage, k) => `<path class="grid" d="M${LEFT} ${(k + 1) * row}H${axis.width - RIGHT}"/><text class="name" x="${LEFT - 5}" y="${(k + 1) * row - 3}" text-anchor="end">${names[k]}</text>`,
  );
  return axis.frame(height, label, labels.join("") + body.join(""));
}
