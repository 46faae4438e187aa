// An optional basemap: a PMTiles file, which the server hands out in ranges of bytes.

let loading = null;

/** Load the reader of PMTiles, and register its protocol with MapLibre. */
export function load(maplibregl) {
  loading ??= new Promise((done, fail) => {
    const script = document.createElement("script");
    script.src = "static/vendor/pmtiles/pmtiles.js";
    script.addEventListener("load", () => {
      maplibregl.addProtocol("pmtiles", new window.pmtiles.Protocol().tile);
      done();
    });
    script.addEventListener("error", () => fail(new Error("The reader of the basemap cannot be loaded.")));
    document.head.append(script);
  });
  return loading;
}

// Muted colours, so that the map stands out. There are no labels: they would need fonts. Names of
// layers are those of Protomaps, OpenMapTiles and Shortbread; a layer of another name is drawn as lines.
const FILLS = [
  [/^(earth|land)$/, "#e4e6e1"],
  [/water|ocean/, "#c3d3dc"],
  [/landuse|landcover|park|sites/, "#d9dfd3"],
  [/building/, "#cfcac4"],
];
const LINES = [
  [/road|street|transport|highway/, "#ffffff", 1.6],
  [/water/, "#b3c8d4", 1],
  [/boundar/, "#9a8f9c", 1],
];
const SILENT = /place|poi|label|housenumber|address|name/;

/** Layers of a MapLibre style for a basemap. */
export function styleLayers({ kind, layers }) {
  if (kind === "raster") return [{ id: "basemap", type: "raster", source: "basemap", paint: { "raster-saturation": -0.5, "raster-opacity": 0.8 } }];
  const drawn = layers.filter((name) => !SILENT.test(name));
  const order = (name) => FILLS.findIndex(([pattern]) => pattern.test(name));
  const fills = drawn.filter((name) => order(name) >= 0).sort((a, b) => order(a) - order(b));
  const styles = fills.map((name) => ({
    id: `basemap-fill-${name}`,
    type: "fill",
    source: "basemap",
    "source-layer": name,
    filter: ["==", ["geometry-type"], "Polygon"],
    paint: { "fill-color": FILLS[order(name)][1] },
  }));
  for (const name of drawn.filter((one) => !/^(earth|land|landuse|landcover|building)s?$/.test(one))) {
    const [, colour, width] = LINES.find(([pattern]) => pattern.test(name)) ?? [null, "#a9aea8", 1];
    styles.push({
      id: `basemap-line-${name}`,
      type: "line",
      source: "basemap",
      "source-layer": name,
      filter: ["==", ["geometry-type"], "LineString"],
      paint: { "line-color": colour, "line-width": width },
    });
  }
  return styles;
}

/** The source of a basemap for a MapLibre style. */
export function source({ kind, encoding }) {
  const url = `pmtiles://${new URL("basemap", location.href.split("#")[0]).href}`;
  return kind === "raster" ? { type: "raster", tileSize: 256, url } : { type: "vector", encoding, url };
}
