// What is chosen, and the link that carries it.
//
// map=zoom/lat/lon  left=THEME[@stage/season]  right=...  split=0.5  opacity=80  day=2018-04-30
// back=true@TIME  pixel=lon,lat

const number = (text) => (text !== null && text !== "" && Number.isFinite(+text) ? +text : null);

function chosen(text) {
  if (!text) return null;
  const [theme, at] = text.split("@");
  return { theme, at: at ?? "" };
}

const written = (choice) => choice.theme + (choice.at ? `@${choice.at}` : "");

/** What a link says; null for what it does not say, or says badly. */
export function read(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const numbers = (name, separator, count) => {
    const parts = (said.get(name) ?? "").split(separator).map(number);
    return parts.length === count && parts.every((part) => part !== null) ? parts : null;
  };
  const back = (said.get("back") ?? "").split("@");
  const between = (value, low, high) => (value === null ? null : Math.min(high, Math.max(low, value)));
  return {
    map: numbers("map", "/", 3),
    left: chosen(said.get("left")),
    right: chosen(said.get("right")),
    split: between(number(said.get("split")), 0, 1),
    opacity: between(number(said.get("opacity")), 0, 100),
    day: said.get("day"),
    look: back[0] || null,
    date: back[1] || null,
    pixel: numbers("pixel", ",", 2),
  };
}

/** The link to a state; what is as usual is left out. */
export function write(state) {
  const parts = [];
  const say = (name, value) => parts.push(`${name}=${encodeURI(value)}`);
  if (state.map) say("map", [state.map[0].toFixed(2), ...state.map.slice(1).map((v) => v.toFixed(5))].join("/"));
  say("left", written(state.left));
  if (state.right) {
    say("right", written(state.right));
    say("split", state.split.toFixed(3));
  }
  if (state.opacity !== 100) say("opacity", state.opacity);
  if (state.day !== null) say("day", state.day);
  if (state.look !== "none") say("back", state.look + (state.date ? `@${state.date}` : ""));
  if (state.pixel) say("pixel", state.pixel.map((v) => v.toFixed(6)).join(","));
  return `#${parts.join("&")}`;
}
