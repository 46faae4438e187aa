// Numbers to colours: tiles of numbers from the server, painted here, so that the time slider needs no server.

const SIDE = 512;
const KEPT = 80; // tiles of numbers kept in memory, 1 MiB each

let nothing = -2147483648;
let palettes = {};
let classes = []; // colours of the commonest classes or flags
let other = ""; // colour of all other classes

/** Take the palette from the server, for this module and as properties for style.css. */
export function setUp(result) {
  ({ nothing, palettes } = result);
  ({ classes, other } = result.colours);
  for (const group of ["stages", "series"]) {
    for (const [name, colour] of Object.entries(result.colours[group])) {
      document.documentElement.style.setProperty(`--${group}-${name}`, colour);
    }
  }
}

// Tiles of numbers ---------------------------------------------------------------------------------

const tiles = new Map(); // address -> promise of numbers
const there = new Map(); // address -> numbers, of those that have come

export const address = (key, z, x, y) => `tiles/${key}/${z}/${x}/${y}`;

/** Numbers of a tile. */
export function numbersOf(url, signal) {
  if (!tiles.has(url)) {
    const coming = fetch(url, { signal })
      .then(async (answer) => {
        if (!answer.ok) throw new Error((await answer.json()).detail ?? answer.statusText);
        const numbers = new Int32Array(await answer.arrayBuffer());
        there.set(url, numbers);
        return numbers;
      })
      .catch((error) => {
        tiles.delete(url);
        throw error;
      });
    tiles.set(url, coming);
    for (const oldest of [...tiles.keys()].slice(0, Math.max(0, tiles.size - KEPT))) {
      tiles.delete(oldest);
      there.delete(oldest);
    }
  }
  return tiles.get(url);
}

/** Number of a view at a place, from the tiles that have come; undefined if none has. */
export function numberAt(key, lon, lat, zoom) {
  const across = (lon + 180) / 360;
  const sine = Math.sin((lat * Math.PI) / 180);
  const down = 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
  for (let z = zoom; z >= 0; z -= 1) {
    const [x, y] = [across * 2 ** z, down * 2 ** z];
    const numbers = there.get(address(key, z, Math.floor(x), Math.floor(y)));
    if (numbers) {
      const value = numbers[Math.floor((y % 1) * SIDE) * SIDE + Math.floor((x % 1) * SIDE)];
      return value === nothing ? null : value;
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
const coloured = (items) => items.map((item, k) => ({ ...item, colour: classes[k] ?? other, isOther: k >= classes.length }));

export const classColours = (legend) => coloured(legend.classes);
export const flagColours = (legend) => coloured(legend.flags);

const packed = (colour) => {
  const rgb = parseInt(colour.slice(1), 16);
  return ((255 << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0; // as ImageData has it
};

/** A painter: from a number to a colour. Dates after `day` stay unpainted (null: none does). */
export function painter(legend, day) {
  if (legend.kind === "class") {
    const colours = new Map(classColours(legend).map((one) => [one.value, packed(one.colour)]));
    return (value) => colours.get(value) ?? packed(other);
  }
  if (legend.kind === "flags") {
    const colours = flagColours(legend).map((one) => [one.bit, packed(one.colour)]);
    return (value) => colours.find(([bit]) => value & bit)?.[1] ?? 0;
  }
  const [low, high] = legend.range;
  const table = Uint32Array.from({ length: high - low + 1 }, (_, k) =>
    packed(shade(legend.palette, high > low ? k / (high - low) : 0)),
  );
  const last = day ?? Infinity;
  return (value) => (value > last ? 0 : table[Math.min(high, Math.max(low, value)) - low]);
}

/** A tile as a picture. */
export function paint(numbers, colourOf) {
  const picture = new ImageData(SIDE, SIDE);
  const pixels = new Uint32Array(picture.data.buffer);
  for (let k = 0; k < pixels.length; k += 1) {
    if (numbers[k] !== nothing) pixels[k] = colourOf(numbers[k]);
  }
  return createImageBitmap(picture);
}
