// The page: its state, its controls, and how the maps follow them.

import { dateText, dayOf, isoOf, setYear } from "./days.js";
import { AreaPanel } from "./area.js";
import { listenToDivider } from "./divider.js";
import { Drawing } from "./drawing.js";
import { draw, valueText } from "./legend.js";
import { prepare, Side, tie } from "./map.js";
import { painter, setUp } from "./paint.js";
import { Panel } from "./panel.js";
import { savePicture } from "./picture.js";
import { segments, setSegments } from "./segments.js";
import { json, path, setBase } from "./server.js";
import { read, write } from "./state.js";

const by = (id) => document.getElementById(id);
const SIDES = ["left", "right"];
const PASSED = { sos: "greened up", pea: "peaked", eos: "senesced" };
const FRAME = 60; // milliseconds a frame

let shown; // issues, basemap
let result;
let state;
let panel;
let areaPanel;
let drawing;
const sides = {};
const legends = {}; // path of a legend -> promise of it
const results = {}; // issue -> promise of its description
const current = {}; // side -> its legend on the screen

let fading;
function notify(text) {
  const toast = by("toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => (toast.hidden = true), 6000);
}

// Choices ------------------------------------------------------------------------------------------

const variableOf = (id) => result.variables.find((variable) => variable.id === id);

/** The nearest available choice: a link may be old, a method may lack a stage. */
function nearestChoice(choice, usual) {
  const variable = variableOf(choice?.variable) ?? usual;
  const wanted = choice?.at || "sos50/1";
  const available = Object.keys(variable.views);
  const season = wanted.split("/")[1];
  const at = available.includes(wanted) ? wanted : (available.find((name) => name.split("/")[1] === season) ?? available[0]);
  return { variable: variable.id, at };
}

const viewOf = (choice) => variableOf(choice.variable).views[choice.at];

const staged = (choice) => /^\w/.test(choice.at);

/** What a comparison begins with: the same of the other method, else another stage, else another variable. */
function rightChoice() {
  const left = variableOf(state.left.variable);
  const { at } = state.left;
  const twin = result.variables.find((variable) => variable.kind === left.kind && variable.id !== left.id);
  if (twin) return nearestChoice({ variable: twin.id, at }, left);
  const season = at.split("/")[1];
  const stage = Object.keys(left.views).find((name) => name !== at && name.split("/")[1] === season);
  if (stage) return { variable: left.id, at: stage };
  const other = result.variables.find((variable) => variable.id !== left.id) ?? left;
  return nearestChoice({ variable: other.id, at: state.at }, other);
}

function fillVariables(side) {
  const group = (name, label) => {
    const options = result.variables.filter((variable) => variable.group === name).map((variable) => new Option(variable.label, variable.id));
    if (!options.length) return [];
    const element = document.createElement("optgroup");
    element.label = label;
    element.append(...options);
    return [element];
  };
  by(`variable-${side}`).replaceChildren(...group("seasons", "By season"), ...group("pixels", "By pixel"));
}

function createChoice(side) {
  const box = by(`choose-${side}`);
  const select = document.createElement("select");
  select.id = `variable-${side}`;
  select.setAttribute("aria-label", "Variable");
  select.addEventListener("change", () => choose(side, { variable: select.value, at: staged(state[side]) ? state[side].at : state.at }));
  const stages = segments(`stage-${side}`, "Stage", (stage) => choose(side, { ...state[side], at: `${stage}/${state[side].at.split("/")[1]}` }));
  const seasons = segments(`season-${side}`, "Season", (season) => choose(side, { ...state[side], at: `${state[side].at.split("/")[0]}/${season}` }));
  box.append(select, stages, seasons);
  fillVariables(side);
}

function showChoice(side) {
  const choice = state[side];
  const available = Object.keys(variableOf(choice.variable).views).filter(Boolean);
  by(`variable-${side}`).value = choice.variable;
  const [stage, season] = choice.at.split("/");
  const stages = Object.keys(result.stages).filter((name) => available.some((at) => at.startsWith(`${name}/`)));
  setSegments(by(`stage-${side}`), stages.map((name) => [name, name === "peak" ? "Peak" : name.toUpperCase(), result.stages[name]]), stage);
  const numbers = [...new Set(available.map((at) => at.split("/")[1]))].filter((number) => available.includes(`${stage}/${number}`));
  const seasons = numbers.sort().map((number) => [number, { 1: "Main season", 2: "Second season" }[number] ?? `Season ${number}`]);
  setSegments(by(`season-${side}`), available.length ? seasons : [], season);
}

function choose(side, choice) {
  if (staged(choice)) state.at = choice.at; // kept for the time when a variable without stages is shown
  state[side] = nearestChoice(choice, variableOf(state[side].variable));
  update();
}

// Drawing ------------------------------------------------------------------------------------------

const legendOf = (choice) => {
  const url = path(`api/legend/${viewOf(choice).key}`);
  return (legends[url] ??= json(url).catch((error) => {
    delete legends[url];
    throw error;
  }));
};

const dayFor = (legend) => (legend.kind === "day" ? dayOf(state.day) : null);

function paintSide(side) {
  const legend = current[side];
  const day = dayFor(legend);
  const { key, status } = viewOf(state[side]);
  sides[side].show({ tiles: path(`tiles/${key}`), status: status && path(`tiles/${status}`), colourOf: painter(legend, day) });
  sides[side].setOpacity(state.opacity / 100);
  draw(by(`legend-${side}`), legend, day);
}

let updates = 0;

/** Update controls, maps, legends and link to the state. */
async function update() {
  updates += 1;
  const number = updates;
  const active = state.right ? SIDES : ["left"];
  by("swipe").checked = Boolean(state.right);
  for (const id of ["choose-right", "legend-right", "map-right", "divider"]) by(id).hidden = !state.right;
  document.body.classList.toggle("swiping", Boolean(state.right));
  active.forEach(showChoice);
  by("opacity").value = state.opacity;
  by("opacity-text").textContent = `${state.opacity} %`;
  showImageChoice();
  updateLink();
  setSplit();
  try {
    if (state.right) await rightSide();
    const found = await Promise.all(active.map((side) => legendOf(state[side])));
    if (number !== updates) return; // a later update has begun
    active.forEach((side, k) => (current[side] = found[k]));
    showDay();
    active.forEach(paintSide);
    for (const side of active) sides[side].setImage(state.rendering, state.date);
  } catch (error) {
    notify(error.message);
  }
}

/** Create the second map at its first use; resolves when it is ready for layers. */
async function rightSide() {
  if (!sides.right) {
    const { map } = sides.left;
    const camera = { center: map.getCenter(), zoom: map.getZoom() };
    sides.right = new Side(by("map-right"), "right", result, camera, shown.basemap, notify);
    listen(sides.right);
    tie(map, sides.right.map);
  }
  await sides.right.ready;
  sides.right.setMark(marked);
}

function setSplit() {
  const percent = 100 * state.split;
  by("map-right").style.clipPath = `inset(0 0 0 ${percent}%)`;
  by("divider").style.left = `${percent}%`;
  by("divider").setAttribute("aria-valuenow", Math.round(percent));
}

/** Update the date filter; its slider spans the colour range of the dates on the screen. */
function showDay() {
  const dateLegends = SIDES.filter((side) => state[side] && current[side]?.kind === "day").map((side) => current[side]);
  by("by-day").disabled = !dateLegends.length;
  const on = state.day !== null && dateLegends.length > 0;
  by("day-on").checked = on;
  by("day-row").hidden = by("day-text").hidden = !on;
  const stage = dateLegends[0]?.key.match(/sos|pea|eos/)?.[0] ?? "sos";
  const passed = PASSED[stage];
  by("day-label").textContent = `Show only pixels ${passed} by this date`;
  if (!on) return stop();
  const low = Math.min(...dateLegends.map((legend) => legend.range[0]));
  const high = Math.max(...dateLegends.map((legend) => legend.range[1]));
  const day = Math.min(high, Math.max(low, dayOf(state.day)));
  Object.assign(by("day"), { min: low, max: high, value: day });
  by("day").setAttribute("aria-valuetext", dateText(day, true));
  const forecast = result.until && day > dayOf(result.until) ? ", or forecast to have," : "";
  by("day-text").textContent = `${passed}${forecast} by ${dateText(day, true)}`;
  return undefined;
}

let playing = null;

function stop() {
  clearTimeout(playing);
  playing = null;
  by("play").setAttribute("aria-pressed", "false");
  by("play").setAttribute("aria-label", "Play");
}

function play() {
  if (playing) return stop();
  by("play").setAttribute("aria-pressed", "true");
  by("play").setAttribute("aria-label", "Pause");
  const slider = by("day");
  if (+slider.value >= +slider.max) slider.value = slider.min;
  const step = Math.max(1, Math.round((slider.max - slider.min) / 120));
  const next = () => {
    slider.value = +slider.value + step;
    setDay(+slider.value);
    playing = +slider.value < +slider.max ? setTimeout(next, FRAME) : null;
    if (!playing) stop();
  };
  playing = setTimeout(next, FRAME);
  return undefined;
}

function setDay(day) {
  state.day = isoOf(day);
  showDay();
  for (const side of SIDES) if (state[side] && current[side]) paintSide(side);
  updateLink();
}

let gaveWay = false; // the layer was hidden to show an image

/** Choose the background image. A layer that covers it gives way, and comes back without an image. */
function setRendering(rendering) {
  if (rendering !== "none" && state.rendering === "none" && state.opacity === 100) {
    state.opacity = 0;
    gaveWay = true;
  } else if (rendering === "none" && gaveWay) {
    state.opacity = 100;
    gaveWay = false;
  }
  state.rendering = rendering;
  update();
}

function showImageChoice() {
  const { images } = result;
  const renderings = [["none", "None"], ...Object.entries(images?.renderings ?? {})];
  setSegments(by("renderings"), renderings, state.rendering);
  by("date-row").hidden = state.rendering === "none";
  by("date").value = state.date ?? "";
  const hint = by("image-hint");
  const far = images && state.rendering !== "none" && sides.left && Math.round(sides.left.map.getZoom()) < images.minzoom;
  const note = !images ? "Start the viewer with --cube to see images here."
    : far ? "Zoom in to see the image."
    : [
        state.rendering === "ndvi" ? "NDVI from 0 (pale) to 0.9 (dark green)." : "",
        state.rendering !== "none" && state.opacity === 0 ? "The layer is hidden: raise its opacity to see it over the image." : "",
      ].join(" ").trim();
  hint.hidden = !note;
  hint.textContent = note;
}

// The link -----------------------------------------------------------------------------------------

let writing;
function updateLink() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const { map } = sides.left;
    const { lng, lat } = map.getCenter();
    state.map = [map.getZoom(), lat, lng];
    history.replaceState(null, "", write(state));
  }, 120);
}

/** Set the state from a link. */
function applyLink(linked) {
  const usual = result.variables[0];
  const renderings = { none: 1, ...result.images?.renderings };
  const dates = result.images?.dates ?? [];
  state = {
    ...linked,
    left: nearestChoice(linked.left, usual),
    right: linked.right && nearestChoice(linked.right, usual),
    split: linked.split ?? 0.5,
    opacity: linked.opacity ?? 100,
    day: dayOf(linked.day) === null ? null : linked.day,
    rendering: renderings[linked.rendering] ? linked.rendering : "none",
    date: dates.some((image) => image.time === linked.date) ? linked.date : clearest(dates),
  };
  state.at = staged(state.left) ? state.left.at : "sos50/1";
  state.issue = shown.issues.length ? result.until : null;
}

/** The clearest image; of equally clear ones the nearest to the middle of the year. */
function clearest(dates) {
  const score = ({ time, clear }) => clear - Math.abs(dayOf(time.slice(0, 10)) - result.middle) / 2000;
  return dates.length ? dates.reduce((best, image) => (score(image) > score(best) ? image : best)).time : null;
}

async function followLink() {
  const linked = read(location.hash);
  const { pixel, field, area } = state;
  if (shown.issues.includes(linked.issue) && linked.issue !== result.until) await loadIssue(linked.issue);
  applyLink(linked);
  showIssue();
  if (linked.map) sides.left.map.jumpTo({ zoom: linked.map[0], center: [linked.map[2], linked.map[1]] });
  await update();
  if (String([state.pixel, state.field, state.area]) === String([pixel, field, area])) return;
  if (!(await openLinked()) && marked) closePanel();
}

/** Open the pixel or the area of the link; whether there is one. */
async function openLinked() {
  if (state.area) await openArea({ polygon: state.area });
  else if (state.field) await openArea({ at: state.field });
  else if (state.pixel) await pick(state.pixel);
  else return false;
  return true;
}

// The issues of a map --------------------------------------------------------------------------------

let changes = 0;

/** Describe an issue, and let the page's requests go to it. Null is a map without issues. */
async function loadIssue(issue) {
  const base = issue ? `issues/${issue}/` : "";
  changes += 1;
  const number = changes;
  const found = await (results[base] ??= json(`${base}api/result`).catch((error) => {
    delete results[base];
    throw error;
  }));
  if (number !== changes) return false; // the slider has moved on
  setBase(base);
  result = found;
  setUp(result);
  for (const part of [panel, areaPanel, ...Object.values(sides)]) if (part) part.result = result;
  return true;
}

/** Show the map as it was known on a day: the same view, from the observations until then. */
async function changeIssue(issue) {
  try {
    if (!(await loadIssue(issue))) return;
  } catch (error) {
    notify(error.message);
    return;
  }
  showTitle();
  SIDES.forEach(fillVariables);
  applyLink(state);
  await update();
  await openLinked();
}

function showIssue() {
  by("issues").hidden = !shown.issues.length;
  by("known").hidden = !result.until;
  const day = result.until && dateText(dayOf(result.until), true);
  by("known").textContent = `As known on ${day}`;
  if (!shown.issues.length) return;
  const at = shown.issues.indexOf(result.until);
  Object.assign(by("issue"), { min: 0, max: shown.issues.length - 1, value: at });
  by("issue").setAttribute("aria-valuetext", day);
  by("issue-text").textContent = `${day} (${at + 1} of ${shown.issues.length})`;
  by("issue-back").disabled = at === 0;
  by("issue-on").disabled = at === shown.issues.length - 1;
}

// A pixel or an area --------------------------------------------------------------------------------

let marked = null; // polygons of what the panel shows

function mark(polygons) {
  marked = polygons;
  for (const side of Object.values(sides)) side.setMark(polygons);
}

/** Show in the panel what was opened; on a phone move the map so that the panel does not cover `place`. */
function showPanel(place, byKey) {
  by("show-panel").disabled = false;
  openSheet("panel");
  if (byKey) by("panel").focus();
  const covered = getComputedStyle(by("show-panel").parentElement).display !== "none"; // on a phone the panel covers the lower part of the map
  if (covered && place) sides.left.map.easeTo({ center: place, offset: [0, -0.3 * by("view").clientHeight] });
}

/** Open a field, {at: [lon, lat]}, or a drawn area, {polygon: corners}. */
async function openArea(wanted, byKey = false) {
  try {
    const area = await areaPanel.open(wanted);
    panel.leave();
    Object.assign(state, { pixel: null, field: wanted.at ?? null, area: wanted.polygon ?? null });
    mark(area.outline);
    showPanel(wanted.at, byKey);
  } catch (error) {
    refuse(error);
  }
  updateLink();
}

/** Say why a place or an area cannot be opened. */
function refuse(error) {
  if (error.name === "AbortError") return;
  notify(/outside the grid|no place in/.test(error.message) ? "This place is outside the map." : error.message);
}

/** Open what a click at a place asks for. */
function click(place, byKey = false) {
  if (drawing.on) drawing.add(place);
  else if (by("click-field").checked) openArea({ at: place }, byKey);
  else pick(place, byKey);
}

/** Go to the place that was typed, and open its pixel. */
async function find(text) {
  try {
    const { lon, lat, why } = await json(path(`api/place?text=${encodeURIComponent(text)}`));
    if (why) throw new Error(why);
    const { map } = sides.left;
    map.jumpTo({ center: [lon, lat], zoom: Math.max(map.getZoom(), 14) });
    await pick([lon, lat]);
  } catch (error) {
    notify(error.message);
  }
}

async function pick(place, byKey = false) {
  const [west, south, east, north] = result.bounds;
  // Beyond the date line the same place has another longitude.
  place = [place[0] + 360 * Math.round(((west + east) / 2 - place[0]) / 360), place[1]];
  if (place[0] < west || place[0] > east || place[1] < south || place[1] > north) {
    notify("This place is outside the map.");
    return;
  }
  try {
    areaPanel.leave();
    const pixel = await panel.open(place);
    Object.assign(state, { pixel: [pixel.lon, pixel.lat], field: null, area: null });
    mark([[pixel.outline]]);
    showPanel(state.pixel, byKey);
  } catch (error) {
    refuse(error);
  }
  updateLink();
}

function closePanel() {
  if (by("panel").contains(document.activeElement)) sides.left.map.getCanvas().focus();
  areaPanel.leave();
  panel.close();
  Object.assign(state, { pixel: null, field: null, area: null });
  mark(null);
  by("show-panel").disabled = true;
  openSheet(null);
  updateLink();
}

/** On small screens: open one sheet over the lower part of the map; null closes both. */
function openSheet(name) {
  for (const id of ["controls", "panel"]) {
    by(id).classList.toggle("open", id === name);
    by(`show-${id}`).setAttribute("aria-expanded", String(id === name));
  }
}

function listen(side) {
  const { map } = side;
  const readout = by("readout");
  map.on("click", ({ lngLat }) => click([lngLat.lng, lngLat.lat]));
  map.on("pick", ({ lngLat }) => pick([lngLat.lng, lngLat.lat]));
  map.on("mousemove", ({ lngLat }) => {
    const [value, status] = side.at(lngLat);
    readout.hidden = value === undefined;
    if (value !== undefined) readout.textContent = valueText(current[side.side], value, status);
  });
  map.on("mouseout", () => (readout.hidden = true));
  map.getCanvas().addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const { lng, lat } = map.getCenter();
    click([lng, lat], true);
  });
}

// Start --------------------------------------------------------------------------------------------

function listenToControls() {
  by("swipe").addEventListener("change", (event) => {
    state.right = event.target.checked ? rightChoice() : null;
    update();
  });
  by("opacity").addEventListener("input", (event) => {
    state.opacity = +event.target.value;
    gaveWay = false;
    showImageChoice();
    by("opacity-text").textContent = `${state.opacity} %`;
    for (const side of SIDES) if (state[side] && sides[side]) sides[side].setOpacity(state.opacity / 100);
    updateLink();
  });
  by("day-on").addEventListener("change", (event) => {
    const legend = SIDES.map((side) => state[side] && current[side]).find((item) => item?.kind === "day");
    state.day = event.target.checked ? isoOf((legend.range[0] + legend.range[1]) / 2) : null;
    update();
  });
  by("day").addEventListener("input", (event) => setDay(+event.target.value));
  by("play").addEventListener("click", play);
  by("renderings").addEventListener("change", (event) => {
    setRendering(event.target.value);
  });
  by("date").addEventListener("change", (event) => {
    state.date = event.target.value;
    update();
  });
  for (const [id, step] of [["date-back", -1], ["date-on", 1]]) {
    by(id).addEventListener("click", () => {
      const at = by("date").selectedIndex + step;
      if (at < 0 || at >= by("date").options.length) return;
      state.date = by("date").options[at].value;
      update();
    });
  }
  listenToDivider(by("divider"), by("view"), () => state.split, moveSplit);
  by("copy").addEventListener("click", async () => {
    history.replaceState(null, "", write(state));
    await navigator.clipboard.writeText(location.href).then(
      () => notify("Link copied."),
      () => notify("Copy the address of the page: it contains the whole view."),
    );
  });
  by("issue").addEventListener("input", (event) => changeIssue(shown.issues[+event.target.value]));
  for (const [id, step] of [["issue-back", -1], ["issue-on", 1]]) {
    by(id).addEventListener("click", () => changeIssue(shown.issues[+by("issue").value + step]));
  }
  by("find").addEventListener("submit", (event) => {
    event.preventDefault();
    find(by("place").value);
  });
  by("draw").addEventListener("click", () => drawing.toggle());
  by("picture").addEventListener("click", () =>
    savePicture({ result, state, sides, mapped: by("view") }).catch((error) => notify(`The picture cannot be saved: ${error.message}`)),
  );
  by("help-open").addEventListener("click", () => by("help").showModal());
  by("show-controls").addEventListener("click", () => openSheet(by("controls").classList.contains("open") ? null : "controls"));
  by("show-panel").addEventListener("click", () => openSheet(by("panel").classList.contains("open") ? null : "panel"));
  document.addEventListener("keydown", shortcut);
  window.addEventListener("hashchange", followLink);
}

function moveSplit(share) {
  state.split = Math.min(1, Math.max(0, share));
  setSplit();
  updateLink();
}

function shortcut(event) {
  const typing = /^(SELECT|TEXTAREA)$/.test(event.target.tagName) || event.target.type === "search" || event.ctrlKey || event.metaKey || event.altKey;
  if (typing || by("help").open) return;
  if (event.key === "Escape" && drawing.on) drawing.stop();
  else if (event.key === "Escape" && marked) closePanel();
  else if (event.key === "s") by("swipe").click();
  else if (event.key === "d" && !by("by-day").disabled) by("day-on").click();
  else if (event.key === "b" && result.images) {
    const renderings = ["none", ...Object.keys(result.images.renderings)];
    setRendering(renderings[(renderings.indexOf(state.rendering) + 1) % renderings.length]);
  } else if (event.key === "?") by("help").showModal();
}

function showTitle() {
  document.title = `${result.title} ${result.year_label} · Deep-CroP`;
  by("title").textContent = `${result.title} · ${result.year_label}`;
  by("simulated").hidden = !result.simulated;
  showIssue();
  by("date").replaceChildren(
    ...(result.images?.dates ?? []).map(({ time, clear }) => {
      const day = dayOf(time.slice(0, 10));
      return new Option(`${dateText(day, true)} · ${Math.round(100 * clear)} % clear`, time);
    }),
  );
  by("cameras").hidden = !result.cameras.length;
  const missing = [
    result.missing.length ? `Files are missing from this result: ${result.missing.join(", ")}.` : "",
    shown.unfinished.length ? `Issues that are not finished are left out: ${shown.unfinished.join(", ")}.` : "",
  ].filter(Boolean);
  by("missing").hidden = !missing.length;
  by("missing").textContent = missing.join(" ");
  by("click-opens").hidden = !result.fields;
  by("credit").hidden = !shown.basemap?.attribution;
  by("credit").textContent = shown.basemap?.attribution ?? "";
  const sources = Object.values(result.sources);
  by("about").textContent = [...(sources.length ? [`From ${sources.join("; ")}.`] : []), `${result.software}.`].join(" ");
}

async function start() {
  shown = await json("api/shown");
  const linked = read(location.hash);
  const latest = shown.issues[shown.issues.length - 1] ?? null;
  await loadIssue(shown.issues.includes(linked.issue) ? linked.issue : latest);
  setYear(result.year);
  showTitle();
  createChoice("left");
  createChoice("right");
  applyLink(linked);
  const camera = linked.map && { zoom: linked.map[0], center: [linked.map[2], linked.map[1]] };
  await prepare(shown.basemap);
  sides.left = new Side(by("map-left"), "left", result, camera, shown.basemap, notify);
  sides.left.addControls();
  panel = new Panel(by("panel"), result, closePanel, (place) => openArea({ at: place }));
  areaPanel = new AreaPanel(by("panel"), result, closePanel);
  drawing = new Drawing(by("draw"), sides, (polygon) => openArea({ polygon }), notify);
  listen(sides.left);
  listenToControls();
  await sides.left.ready;
  sides.left.map.on("moveend", () => {
    showImageChoice();
    updateLink();
  });
  await update();
  await openLinked();
  document.body.dataset.ready = "yes";
}

start().catch((error) => notify(`This page cannot start: ${error.message}`));
