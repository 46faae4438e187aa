// Conversions between dates and day numbers: whole days since 1 January of the target year.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const LENGTH = 86400000;

let year = 1970;

export function setYear(value) {
  year = value;
}

const dateOf = (day) => new Date(Date.UTC(year, 0, 1) + Math.round(day) * LENGTH);

export const isoOf = (day) => dateOf(day).toISOString().slice(0, 10);

/** Day number of an ISO date; null for any other text. */
export function dayOf(iso) {
  const time = /^\d{4}-\d\d-\d\d$/.test(iso ?? "") ? Date.parse(`${iso}T00:00:00Z`) : NaN;
  return Number.isNaN(time) ? null : Math.round((time - Date.UTC(year, 0, 1)) / LENGTH);
}

/** "2 May"; with the year if it is not the target year, or always. */
export function dateText(day, always = false) {
  const date = dateOf(day);
  const text = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  return always || date.getUTCFullYear() !== year ? `${text} ${date.getUTCFullYear()}` : text;
}

/** "2 May" for tables; "2 Dec ’17" if the year is not the target year. */
export function shortDate(day) {
  const date = dateOf(day);
  const text = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  return date.getUTCFullYear() === year ? text : `${text} ’${String(date.getUTCFullYear()).slice(2)}`;
}

/** First days of months from `low` to `high`, at most `max` of them: [day, label].
 *
 * The year is added to January, or to all months outside the target year. */
export function monthTicks(low, high, max, yearOfOthers = false) {
  for (const step of [1, 2, 3, 4, 6, 12]) {
    const ticks = [];
    for (let month = -24; month < 36; month += 1) {
      if (((month % step) + step) % step) continue;
      const date = new Date(Date.UTC(year, month, 1));
      const day = Math.round((date - Date.UTC(year, 0, 1)) / LENGTH);
      if (day < low || day > high) continue;
      const name = MONTHS[date.getUTCMonth()];
      const withYear = yearOfOthers ? date.getUTCFullYear() !== year : date.getUTCMonth() === 0;
      ticks.push([day, withYear ? `${name} ${date.getUTCFullYear()}` : name]);
    }
    if (ticks.length <= max) return ticks;
  }
  return [];
}
