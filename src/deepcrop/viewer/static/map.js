// The map, or two maps one above the other: MapLibre without glyphs or sprites.

import * as maplibregl from "./vendor/maplibre-gl/maplibre-gl.mjs";
import { load, source, styleLayers } from "./basemap.js";
import { address, paint, valueAt, valuesOf } from "./paint.js";

const MAX_ZOOM = 16; // closer, the tiles of this zoom are enlarged
const EMPTY = { type: "FeatureCollection", features: [] };

/** The view of each side: {tiles, status, colourOf}; `tiles` and `status` are paths of tiles, `status` null unless the map is in season. */
const viewOf = { left: null, right: null };
let painted = 0;

maplibregl.addProtocol("values", async ({ url }, abort) => {
  const [side, z, x, y] = url.slice("values://".length).split("?")[0].split("/");
  const { tiles, status, colourOf } = viewOf[side];
  const [values, of] = await Promise.all([tiles, status].map((one) => one && valuesOf(address(one, z, x, y), abort.signal)));
  return { data: await paint(values, colourOf, of) };
});

/** What has to be loaded before the first map. */
export const prepare = (basemap) => basemap && load(maplibregl);

const feature = (type, coordinates) => ({ type: "Feature", properties: {}, geometry: { type, coordinates } });
const ringOf = (ring) => feature("Polygon", [ring]);

/** Whether bounds go on beyond 180 or -180 degrees. */
const crossesDateLine = ([west, , east]) => west < -180 || east > 180;

/** The bounds of a source of tiles, which must not cross the date line; without any, the server refuses tiles outside. */
const sourceBounds = (bounds) => (crossesDateLine(bounds) ? {} : { bounds });

export class Side {
  /** One map. `side` is "left" or "right"; `basemap` its description or null; `notify` shows error messages. */
  constructor(container, side, result, camera, basemap, notify) {
    this.side = side;
    this.result = result;
    this.map = new maplibregl.Map({
      container,
      style: {
        version: 8,
        sources: {
          outline: { type: "geojson", data: ringOf(result.outline) },
          pixel: { type: "geojson", data: EMPTY },
          drawing: { type: "geojson", data: EMPTY },
          ...(basemap ? { basemap: source(basemap) } : {}),
        },
        layers: [
          { id: "paper", type: "background", paint: { "background-color": "#e9ebe7" } },
          ...(basemap ? styleLayers(basemap) : []),
          { id: "ground", type: "fill", source: "outline", paint: { "fill-color": "#d5d9d2", "fill-opacity": basemap ? 0 : 1 } },
          { id: "outline", type: "line", source: "outline", paint: { "line-color": "#7b857d", "line-width": 1 } },
          { id: "pixel-edge", type: "line", source: "pixel", paint: { "line-color": "#fff", "line-width": 5 } },
          { id: "pixel", type: "line", source: "pixel", paint: { "line-color": "#111", "line-width": 2 } },
          { id: "drawing-edge", type: "line", source: "drawing", paint: { "line-color": "#fff", "line-width": 5 } },
          { id: "drawing", type: "line", source: "drawing", paint: { "line-color": "#0b62c4", "line-width": 2 } },
          { id: "corners", type: "circle", source: "drawing", paint: { "circle-radius": 4, "circle-color": "#0b62c4", "circle-stroke-color": "#fff", "circle-stroke-width": 1.5 } },
        ],
      },
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      renderWorldCopies: crossesDateLine(result.bounds),
      fadeDuration: 0,
      maxZoom: 20,
      ...(camera ?? { bounds: result.bounds, fitBoundsOptions: { padding: 40 } }),
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.getCanvas().setAttribute("aria-label", side === "left" ? "Map" : "Map, right-hand layer");
    this.map.on("error", ({ error }) => {
      if (error?.name !== "AbortError") notify(error.message);
    });
    this.ready = new Promise((done) => this.map.once("load", done));
    for (const camera of result.cameras) this.#mark(camera);
  }

  addControls() {
    this.map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
    this.map.addControl(new maplibregl.ScaleControl({ maxWidth: 120 }), "bottom-right");
  }

  /** Show a view in its colours. */
  show(view) {
    viewOf[this.side] = view;
    painted += 1;
    const url = [`values://${this.side}/{z}/{x}/{y}?${painted}`];
    const source = this.map.getSource("values");
    if (source) {
      source.setTiles(url);
      return;
    }
    const bounds = sourceBounds(this.result.bounds);
    this.map.addSource("values", { type: "raster", tiles: url, tileSize: 512, ...bounds, maxzoom: MAX_ZOOM });
    this.map.addLayer(
      { id: "values", type: "raster", source: "values", paint: { "raster-resampling": "nearest", "raster-fade-duration": 0 } },
      "outline",
    );
  }

  setOpacity(share) {
    this.map.setPaintProperty("values", "raster-opacity", share);
  }

  /** Show an image of the cube behind the layer; the rendering "none" removes it. */
  setImage(rendering, time) {
    const wanted = rendering === "none" ? null : `images/${rendering}/${time}/{z}/{x}/{y}`;
    if (this.image === wanted) return;
    this.image = wanted;
    if (this.map.getLayer("image")) {
      this.map.removeLayer("image");
      this.map.removeSource("image");
    }
    if (!wanted) return;
    const { images } = this.result;
    const bounds = sourceBounds(this.result.bounds);
    const url = new URL(wanted, location.href.split("#")[0]).href.replaceAll("%7B", "{").replaceAll("%7D", "}");
    this.map.addSource("image", {
      type: "raster", tiles: [url], tileSize: 512, ...bounds, minzoom: images.minzoom, maxzoom: MAX_ZOOM,
    });
    this.map.addLayer(
      { id: "image", type: "raster", source: "image", paint: { "raster-resampling": "nearest", "raster-fade-duration": 0 } },
      this.map.getLayer("values") ? "values" : "outline",
    );
  }

  /** Mark a pixel by its outline, or an area by its polygons; null removes the mark. */
  setMark(polygons) {
    this.map.getSource("pixel")?.setData(polygons ? feature("MultiPolygon", polygons) : EMPTY);
  }

  /** Show the corners of a polygon while it is drawn. */
  setDrawing(corners) {
    const parts = [feature("MultiPoint", corners), ...(corners.length > 1 ? [feature("LineString", corners)] : [])];
    this.map.getSource("drawing")?.setData(corners.length ? { type: "FeatureCollection", features: parts } : EMPTY);
  }

  /** Value at a place with its status; null: no data; undefined: outside the map, or not loaded yet. */
  at({ lng, lat }) {
    const { tiles, status } = viewOf[this.side] ?? {};
    const zoom = Math.min(MAX_ZOOM, Math.ceil(this.map.getZoom()) + 1);
    return [tiles, status].map((one) => one && valueAt(one, lng, lat, zoom));
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
export function tie(first, second) {
  let busy = false;
  const follow = (from, to) =>
    from.on("move", () => {
      if (busy) return;
      busy = true;
      to.jumpTo({ center: from.getCenter(), zoom: from.getZoom() });
      busy = false;
    });
  follow(first, second);
  follow(second, first);
}
