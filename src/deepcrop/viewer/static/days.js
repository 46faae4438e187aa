// Day numbers are whole days since 1 January of the target year, as everywhere in Deep-CroP.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const LENGTH = 86400000;

let year = 1970;

export function setYear(value) {
  year = value;
}

const dateOf = (day) => new Date(Date.UTC(year, 0, 1) + Math.round(day) * LENGTH);

export const isoOf = (day) => dateOf(day).toISOString().slice(0, 10);

/** Day number of an ISO date; null if it is none. */
export function dayOf(iso) {
  const time = /^\d{4}-\d\d-\d\d$/.test(iso ?? "") ? Date.parse(`${iso}T00:00:00Z`) : NaN;
  return Number.isNaN(time) ? null : Math.round((time - Date.UTC(year, 0, 1)) / LENGTH);
}

/** "2 May", with the year where it is not the target year, or always. */
export function words(day, always = false) {
  const date = dateOf(day);
  const text = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  return always || date.getUTCFullYear() !== year ? `${text} ${date.getUTCFullYear()}` : text;
}

/** "2 May", "2 Dec ’17" where it is not of the target year: for tables. */
export function short(day) {
  const date = dateOf(day);
  const text = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  return date.getUTCFullYear() === year ? text : `${text} ’${String(date.getUTCFullYear()).slice(2)}`;
}

/** First days of months from `low` to `high`, at most `most` of them: [day, label].
 *
 * The year stands beside January, or beside all months that are not of the target year. */
export function monthTicks(low, high, most, yearOfOthers = false) {
  for (const step of [1, 2, 3, 4, 6, 12]) {
    const ticks = [];
    for (let month = -24; month < 36; month += 1) {
      if (((month % step) + step) % step) continue;
      const date = new Date(Date.UTC(year, month, 1));
      const day = Math.round((date - Date.UTC(year, 0, 1)) / LENGTH);
      if (day < low || day > high) continue;
      const name = MONTHS[date.getUTCMonth()];
      const named = yearOfOthers ? date.getUTCFullYear() !== year : date.getUTCMonth() === 0;
      ticks.push([day, named ? `${name} ${date.getUTCFullYear()}` : name]);
    }
    if (ticks.length <= most) return ticks;
  }
  return [];
}
