// What a date of a map in season is: observed, forecast or not yet known.

export const OBSERVED = 1;
export const FORECAST = 2;
export const NOT_YET_KNOWN = 3;

/** The mark of a date, from its status by each method: filled if observed, hollow if any is a forecast, grey if nothing is known. */
export function dot(stage, states) {
  const said = states.filter(Boolean);
  const look = said.includes("forecast") ? " open" : said.length && !said.includes("observed") ? " unknown" : "";
  return `<i class="dot ${stage}${look}"></i>`;
}

/** A date of a table as HTML, from its parts; a forecast says so. */
export function dateCell({ day, low, high, status }, text) {
  const range = low === null || high === null || low === undefined || high === undefined ? "" : ` <small>${text(low)} – ${text(high)}</small>`;
  if (day === undefined) return "";
  if (status === "not yet known") return '<span class="later">not yet known</span>';
  if (day === null) return status === "no event" ? "no event" : "none";
  const date = text(day) + range;
  return status === "forecast" ? `<span class="forecast">${date}<small>forecast</small></span>` : date;
}
