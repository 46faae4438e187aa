// The state of the page as a link, and back.
//
// map=zoom/lat/lon  left=VARIABLE[@stage/season]  right=...  split=0.5  opacity=80  day=2018-04-30
// back=RENDERING@TIME  pixel=lon,lat  field=lon,lat  area=lon,lat;lon,lat;...  issue=2018-06-15

const number = (text) => (text !== null && text !== "" && Number.isFinite(+text) ? +text : null);

function choiceOf(text) {
  if (!text) return null;
  const [variable, at] = text.split("@");
  return { variable, at: at ?? "" };
}

function cornersOf(text) {
  const corners = (text ?? "").split(";").map((corner) => corner.split(",").map(number));
  return corners.length > 2 && corners.every((corner) => corner.length === 2 && !corner.includes(null)) ? corners : null;
}

const placed = (place) => place.map((v) => v.toFixed(6)).join(",");

const written = (choice) => choice.variable + (choice.at ? `@${choice.at}` : "");

/** Parse a link; null for each part that is missing or invalid. */
export function read(hash) {
  const link = new URLSearchParams(hash.replace(/^#/, ""));
  const numbers = (name, separator, count) => {
    const parts = (link.get(name) ?? "").split(separator).map(number);
    return parts.length === count && parts.every((part) => part !== null) ? parts : null;
  };
  const back = (link.get("back") ?? "").split("@");
  const between = (value, low, high) => (value === null ? null : Math.min(high, Math.max(low, value)));
  return {
    map: numbers("map", "/", 3),
    left: choiceOf(link.get("left")),
    right: choiceOf(link.get("right")),
    split: between(number(link.get("split")), 0, 1),
    opacity: between(number(link.get("opacity")), 0, 100),
    day: link.get("day"),
    rendering: back[0] || null,
    date: back[1] || null,
    pixel: numbers("pixel", ",", 2),
    field: numbers("field", ",", 2),
    area: cornersOf(link.get("area")),
    issue: link.get("issue"),
  };
}

/** The link of a state; default values are left out. */
export function write(state) {
  const parts = [];
  const add = (name, value) => parts.push(`${name}=${encodeURI(value)}`);
  if (state.map) add("map", [state.map[0].toFixed(2), ...state.map.slice(1).map((v) => v.toFixed(5))].join("/"));
  add("left", written(state.left));
  if (state.right) {
    add("right", written(state.right));
    add("split", state.split.toFixed(3));
  }
  if (state.opacity !== 100) add("opacity", state.opacity);
  if (state.day !== null) add("day", state.day);
  if (state.rendering !== "none") add("back", state.rendering + (state.date ? `@${state.date}` : ""));
  if (state.pixel) add("pixel", placed(state.pixel));
  if (state.field) add("field", placed(state.field));
  if (state.area) add("area", state.area.map(placed).join(";"));
  if (state.issue) add("issue", state.issue);
  return `#${parts.join("&")}`;
}
