// Tiles of values from the server are coloured here, so that the date filter sends no requests.

import { FORECAST, NOT_YET_KNOWN } from "./status.js";

const SIDE = 512;
const CACHED = 80; // maximum number of tiles in memory, 1 MiB each

let noValue = 0; // value of pixels without data
let palettes = {};
let classes = []; // colours of the commonest classes or flags
let other = ""; // colour of all other classes

const stageColours = new CSSStyleSheet(); // which stages there are depends on the map

/** Take the palette from the server, for this module and as properties for style.css. */
export function setUp(result) {
  ({ no_value: noValue, palettes } = result);
  ({ classes, other } = result.colours);
  for (const [name, colour] of Object.entries(result.colours.series)) {
    document.documentElement.style.setProperty(`--series-${name}`, colour);
  }
  stageColours.replaceSync(Object.entries(result.colours.stages).map(([name, colour]) => `.${name} { --stage: ${colour}; }`).join("\n"));
  document.adoptedStyleSheets = [stageColours];
}

// Tiles of values ----------------------------------------------------------------------------------

const tiles = new Map(); // address -> promise of values
const loaded = new Map(); // address -> values of tiles that have arrived

/** Address of a tile; `tiles` is the path of all tiles of a view. */
export const address = (tiles, z, x, y) => `${tiles}/${z}/${x}/${y}`;

/** Values of a tile. */
export function valuesOf(url, signal) {
  if (!tiles.has(url)) {
    const coming = fetch(url, { signal })
      .then(async (answer) => {
        if (!answer.ok) throw new Error((await answer.json()).detail ?? answer.statusText);
        const values = new Int32Array(await answer.arrayBuffer());
        loaded.set(url, values);
        return values;
      })
      .catch((error) => {
        tiles.delete(url);
        throw error;
      });
    tiles.set(url, coming);
    for (const oldest of [...tiles.keys()].slice(0, Math.max(0, tiles.size - CACHED))) {
      tiles.delete(oldest);
      loaded.delete(oldest);
    }
  }
  return tiles.get(url);
}

/** Value of a view at a place from the loaded tiles; undefined if none is loaded. */
export function valueAt(view, lon, lat, zoom) {
  const across = ((((lon + 180) / 360) % 1) + 1) % 1; // a map over the date line goes on beyond 180
  const sine = Math.sin((lat * Math.PI) / 180);
  const down = 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
  for (let z = zoom; z >= 0; z -= 1) {
    const [x, y] = [across * 2 ** z, down * 2 ** z];
    const values = loaded.get(address(view, z, Math.floor(x), Math.floor(y)));
    if (values) {
      const value = values[Math.floor((y % 1) * SIDE) * SIDE + Math.floor((x % 1) * SIDE)];
      return value === noValue ? null : value;
    }
  }
  return undefined;
}

// Colours ------------------------------------------------------------------------------------------

/** Colour of a palette at a share 0 ... 1, "#rrggbb". */
export function shade(palette, share) {
  const at = Math.min(255, Math.max(0, Math.round(share * 255)));
  return `#${palettes[palette].slice(6 * at, 6 * at + 6)}`;
}

/** Classes of a legend with their colours; beyond the colours there are, all have the same. */
const coloured = (items) =>
  items.map((item, k) => ({ ...item, colour: item.colour ?? classes[k] ?? other, isOther: !item.colour && k >= classes.length }));

export const classColours = (legend) => coloured(legend.classes);
export const flagColours = (legend) => coloured(legend.flags);

const packed = (colour) => {
  const rgb = parseInt(colour.slice(1), 16);
  return ((255 << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0; // as ImageData has it
};

/** A function from a value to its colour. Dates after `day` are transparent (null: no filter). */
export function painter(legend, day) {
  if (legend.classes) {
    const colours = new Map(classColours(legend).map(({ value, colour }) => [value, packed(colour)]));
    return (value) => colours.get(value) ?? packed(other);
  }
  if (legend.kind === "flags") {
    const colours = flagColours(legend).map(({ bit, colour }) => [bit, packed(colour)]);
    return (value) => colours.find(([bit]) => value & bit)?.[1] ?? 0;
  }
  const [low, high] = legend.range;
  const table = Uint32Array.from({ length: high - low + 1 }, (_, k) =>
    packed(shade(legend.palette, high > low ? k / (high - low) : 0)),
  );
  const last = day ?? Infinity;
  return (value) => (value > last ? 0 : table[Math.min(high, Math.max(low, value)) - low]);
}

const DOT = packed("#6d766f"); // pixels whose date is not yet known

/** A colour mixed with white. */
function pale(colour) {
  const mix = (shift) => Math.round(255 - (255 - ((colour >>> shift) & 255)) * 0.3) << shift;
  return ((255 << 24) | mix(16) | mix(8) | mix(0)) >>> 0;
}

/** Colour a tile. With `status`, the tile of what each date is, forecasts are hatched and pixels whose date is not yet known dotted. */
export function paint(values, colourOf, status) {
  const picture = new ImageData(SIDE, SIDE);
  const pixels = new Uint32Array(picture.data.buffer);
  for (let k = 0; k < pixels.length; k += 1) {
    if (values[k] !== noValue) pixels[k] = colourOf(values[k]);
    if (!status) continue;
    const [x, y] = [k % SIDE, Math.floor(k / SIDE)];
    if (status[k] === FORECAST && pixels[k] && (x + y) % 8 < 4) pixels[k] = pale(pixels[k]);
    else if (status[k] === NOT_YET_KNOWN && x % 8 < 2 && y % 8 < 2) pixels[k] = DOT;
  }
  return createImageBitmap(picture);
}
