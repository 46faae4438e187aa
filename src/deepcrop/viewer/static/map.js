// The map, or two of them one upon the other: MapLibre without any basemap, glyphs or sprites.

import * as maplibregl from "./vendor/maplibre-gl/maplibre-gl.mjs";
import { address, numberAt, numbersOf, paint } from "./paint.js";

const MOST = 16; // beyond, the squares of pixels only grow
const EMPTY = { type: "FeatureCollection", features: [] };

/** What each side shows now: {key, colourOf}. */
const shown = { left: null, right: null };
let painted = 0;

maplibregl.addProtocol("numbers", async ({ url }, abort) => {
  const [side, z, x, y] = url.slice("numbers://".length).split("?")[0].split("/");
  const { key, colourOf } = shown[side];
  const numbers = await numbersOf(address(key, z, x, y), abort.signal);
  return { data: await paint(numbers, colourOf) };
});

const ringOf = (ring) => ({ type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [ring] } });

export class Side {
  /** One map. `side` is "left" or "right"; `told` gets errors in words. */
  constructor(container, side, result, camera, told) {
    this.side = side;
    this.result = result;
    this.map = new maplibregl.Map({
      container,
      style: {
        version: 8,
        sources: {
          outline: { type: "geojson", data: ringOf(result.outline) },
          pixel: { type: "geojson", data: EMPTY },
        },
        layers: [
          { id: "paper", type: "background", paint: { "background-color": "#e9ebe7" } },
          { id: "ground", type: "fill", source: "outline", paint: { "fill-color": "#d5d9d2" } },
          { id: "outline", type: "line", source: "outline", paint: { "line-color": "#7b857d", "line-width": 1 } },
          { id: "pixel-edge", type: "line", source: "pixel", paint: { "line-color": "#fff", "line-width": 5 } },
          { id: "pixel", type: "line", source: "pixel", paint: { "line-color": "#111", "line-width": 2 } },
        ],
      },
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      renderWorldCopies: false,
      fadeDuration: 0,
      maxZoom: 20,
      ...(camera ?? { bounds: result.bounds, fitBoundsOptions: { padding: 40 } }),
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.getCanvas().setAttribute("aria-label", side === "left" ? "Map" : "Map, right-hand layer");
    this.map.on("error", ({ error }) => {
      if (error?.name !== "AbortError") told(error.message);
    });
    this.ready = new Promise((done) => this.map.once("load", done));
    for (const camera of result.cameras) this.#mark(camera);
  }

  addControls() {
    this.map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
    this.map.addControl(new maplibregl.ScaleControl({ maxWidth: 120 }), "bottom-right");
  }

  /** Show a view in colours. */
  show(key, colourOf) {
    shown[this.side] = { key, colourOf };
    painted += 1;
    const url = [`numbers://${this.side}/{z}/{x}/{y}?${painted}`];
    const source = this.map.getSource("numbers");
    if (source) {
      source.setTiles(url);
      return;
    }
    const { bounds } = this.result;
    this.map.addSource("numbers", { type: "raster", tiles: url, tileSize: 512, bounds, maxzoom: MOST });
    this.map.addLayer(
      { id: "numbers", type: "raster", source: "numbers", paint: { "raster-resampling": "nearest", "raster-fade-duration": 0 } },
      "outline",
    );
  }

  setOpacity(share) {
    this.map.setPaintProperty("numbers", "raster-opacity", share);
  }

  /** Picture behind the layer; null for none. */
  setBackground(look, time) {
    const wanted = look === "none" ? null : `background/${look}/${time}/{z}/{x}/{y}`;
    if (this.behind === wanted) return;
    this.behind = wanted;
    if (this.map.getLayer("behind")) {
      this.map.removeLayer("behind");
      this.map.removeSource("behind");
    }
    if (!wanted) return;
    const { bounds, background } = this.result;
    const url = new URL(wanted, location.href.split("#")[0]).href.replaceAll("%7B", "{").replaceAll("%7D", "}");
    this.map.addSource("behind", {
      type: "raster", tiles: [url], tileSize: 512, bounds, minzoom: background.minzoom, maxzoom: MOST,
    });
    this.map.addLayer(
      { id: "behind", type: "raster", source: "behind", paint: { "raster-resampling": "nearest", "raster-fade-duration": 0 } },
      this.map.getLayer("numbers") ? "numbers" : "outline",
    );
  }

  setPixel(ring) {
    if (this.map.getSource("pixel")) this.map.getSource("pixel").setData(ring ? ringOf(ring) : EMPTY);
  }

  /** Number under a place; null: nothing known there; undefined: not on the map, or not loaded. */
  at({ lng, lat }) {
    const { key } = shown[this.side] ?? {};
    return key && numberAt(key, lng, lat, Math.min(MOST, Math.ceil(this.map.getZoom()) + 1));
  }

  #mark({ name, lon, lat, azimuth }) {
    const element = document.createElement("button");
    element.type = "button";
    element.className = "camera";
    element.title = name;
    element.setAttribute("aria-label", `${name}: open its pixel`);
    const wedge = azimuth === null ? "" : `<path d="M12 12 7 1h10z" transform="rotate(${azimuth} 12 12)"/>`;
    element.innerHTML = `<svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">${wedge}<circle cx="12" cy="12" r="4.500"/></svg>`;
    element.addEventListener("click", (event) => {
      event.stopPropagation();
      this.map.fire("pick", { lngLat: { lng: lon, lat } });
    });
    new maplibregl.Marker({ element }).setLngLat([lon, lat]).addTo(this.map);
  }
}

/** Keep two maps at the same place. */
export function tie(one, other) {
  let busy = false;
  const follow = (from, to) =>
    from.on("move", () => {
      if (busy) return;
      busy = true;
      to.jumpTo({ center: from.getCenter(), zoom: from.getZoom() });
      busy = false;
    });
  follow(one, other);
  follow(other, one);
}
