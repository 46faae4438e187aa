// The page: what is chosen, and everything that follows from it.

import { dayOf, isoOf, setYear, words } from "./days.js";
import { draw, inWords } from "./legend.js";
import { Side, tie } from "./map.js";
import { painter, setUp } from "./paint.js";
import { Panel } from "./panel.js";
import { read, write } from "./state.js";

const by = (id) => document.getElementById(id);
const SIDES = ["left", "right"];
const DONE = { sos: "greened up", pea: "peaked", eos: "died down" };
const PLAY = 60; // milliseconds a frame

let result;
let state;
let panel;
const sides = {};
const legends = {}; // key -> promise of its legend
const current = {}; // side -> legend that is shown

async function json(url) {
  const answer = await fetch(url);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.detail ?? answer.statusText);
  return content;
}

let fading;
function tell(text) {
  const toast = by("toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => (toast.hidden = true), 6000);
}

// Choices ------------------------------------------------------------------------------------------

const themeOf = (id) => result.themes.find((theme) => theme.id === id);

/** The nearest choice that exists: a link may be old, a method may not know a stage. */
function existing(choice, usual) {
  const theme = themeOf(choice?.theme) ?? usual;
  const wanted = choice?.at || "sos50/1";
  const there = Object.keys(theme.views);
  const season = wanted.split("/")[1];
  const at = there.includes(wanted) ? wanted : (there.find((one) => one.split("/")[1] === season) ?? there[0]);
  return { theme: theme.id, at };
}

const viewOf = (choice) => themeOf(choice.theme).views[choice.at];

const staged = (choice) => /^\w/.test(choice.at);

function other() {
  const left = themeOf(state.left.theme);
  const twin = result.themes.find((theme) => theme.kind === left.kind && theme.id !== left.id);
  return existing({ theme: (twin ?? left).id, at: state.left.at }, left);
}

function fill(side) {
  const box = by(`choose-${side}`);
  const group = (name, label) => {
    const options = result.themes.filter((theme) => theme.group === name).map((theme) => new Option(theme.label, theme.id));
    if (!options.length) return [];
    const element = document.createElement("optgroup");
    element.label = label;
    element.append(...options);
    return [element];
  };
  const select = document.createElement("select");
  select.id = `theme-${side}`;
  select.setAttribute("aria-label", "What to show");
  select.append(...group("seasons", "Of a season"), ...group("pixels", "Of the pixel"));
  select.addEventListener("change", () => choose(side, { theme: select.value, at: staged(state[side]) ? state[side].at : state.at }));
  const stages = segments(`stage-${side}`, "Stage", (stage) => choose(side, { ...state[side], at: `${stage}/${state[side].at.split("/")[1]}` }));
  const seasons = segments(`season-${side}`, "Season", (season) => choose(side, { ...state[side], at: `${state[side].at.split("/")[0]}/${season}` }));
  box.append(select, stages, seasons);
}

function segments(id, label, chosen) {
  const box = document.createElement("div");
  box.className = "segments";
  box.id = id;
  box.setAttribute("role", "radiogroup");
  box.setAttribute("aria-label", label);
  box.addEventListener("change", (event) => chosen(event.target.value));
  return box;
}

/** Radio buttons [value, text, title], of which one is chosen. */
function setSegments(box, options, value) {
  const wanted = JSON.stringify(options);
  if (box.dataset.options !== wanted) {
    box.dataset.options = wanted;
    box.replaceChildren(
      ...options.map(([one, text, title]) => {
        const label = document.createElement("label");
        label.title = title ?? "";
        const input = document.createElement("input");
        Object.assign(input, { type: "radio", name: box.id, value: one });
        const span = document.createElement("span");
        span.textContent = text;
        label.append(input, span);
        return label;
      }),
    );
  }
  for (const input of box.querySelectorAll("input")) input.checked = input.value === value;
}

function showChoice(side) {
  const choice = state[side];
  const there = Object.keys(themeOf(choice.theme).views).filter(Boolean);
  by(`theme-${side}`).value = choice.theme;
  const [stage, season] = choice.at.split("/");
  const stages = Object.keys(result.stages).filter((one) => there.some((at) => at.startsWith(`${one}/`)));
  setSegments(by(`stage-${side}`), stages.map((one) => [one, one === "peak" ? "Peak" : one.toUpperCase(), result.stages[one]]), stage);
  const seasons = [["1", "Main season"], ["2", "Second season"]].filter(([one]) => there.includes(`${stage}/${one}`));
  setSegments(by(`season-${side}`), there.length ? seasons : [], season);
}

function choose(side, choice) {
  if (staged(choice)) state.at = choice.at; // a stage is kept while layers of no stage are shown
  state[side] = existing(choice, themeOf(state[side].theme));
  update();
}

// Drawing ------------------------------------------------------------------------------------------

const legendOf = (choice) => {
  const { key } = viewOf(choice);
  return (legends[key] ??= json(`api/legend/${key}`).catch((error) => {
    delete legends[key];
    throw error;
  }));
};

const dayFor = (legend) => (legend.kind === "day" ? dayOf(state.day) : null);

function paintSide(side) {
  const legend = current[side];
  const day = dayFor(legend);
  sides[side].show(legend.key, painter(legend, day));
  sides[side].setOpacity(state.opacity / 100);
  draw(by(`legend-${side}`), legend, day);
}

let turn = 0;

/** Bring everything in line with the state. */
async function update() {
  turn += 1;
  const mine = turn;
  const active = state.right ? SIDES : ["left"];
  by("swipe").checked = Boolean(state.right);
  for (const id of ["choose-right", "legend-right", "map-right", "divider"]) by(id).hidden = !state.right;
  document.body.classList.toggle("swiping", Boolean(state.right));
  active.forEach(showChoice);
  by("opacity").value = state.opacity;
  by("opacity-text").textContent = `${state.opacity} %`;
  showBehind();
  remember();
  setSplit();
  try {
    if (state.right) await rightSide();
    const found = await Promise.all(active.map((side) => legendOf(state[side])));
    if (mine !== turn) return;
    active.forEach((side, k) => (current[side] = found[k]));
    showDay();
    active.forEach(paintSide);
    for (const side of active) sides[side].setBackground(state.look, state.date);
  } catch (error) {
    tell(error.message);
  }
}

/** The second map, made when it is first wanted; resolves when it can be drawn on. */
async function rightSide() {
  if (!sides.right) {
    const { map } = sides.left;
    const camera = { center: map.getCenter(), zoom: map.getZoom() };
    sides.right = new Side(by("map-right"), "right", result, camera, tell);
    listen(sides.right);
    tie(map, sides.right.map);
  }
  await sides.right.ready;
  sides.right.setPixel(panel.pixel?.outline);
}

function setSplit() {
  const percent = 100 * state.split;
  by("map-right").style.clipPath = `inset(0 0 0 ${percent}%)`;
  by("divider").style.left = `${percent}%`;
  by("divider").setAttribute("aria-valuenow", Math.round(percent));
}

/** The time slider: of the dates that are shown, over the range of their colours. */
function showDay() {
  const dated = SIDES.filter((side) => state[side] && current[side]?.kind === "day").map((side) => current[side]);
  by("by-day").disabled = !dated.length;
  const on = state.day !== null && dated.length > 0;
  by("day-on").checked = on;
  by("day-row").hidden = by("day-text").hidden = !on;
  const stage = dated[0]?.key.match(/sos|pea|eos/)?.[0] ?? "sos";
  const done = DONE[stage];
  by("day-words").textContent = `Paint what has ${done} by a day`;
  if (!on) return stop();
  const low = Math.min(...dated.map((legend) => legend.range[0]));
  const high = Math.max(...dated.map((legend) => legend.range[1]));
  const day = Math.min(high, Math.max(low, dayOf(state.day)));
  Object.assign(by("day"), { min: low, max: high, value: day });
  by("day").setAttribute("aria-valuetext", words(day, true));
  by("day-text").textContent = `${done} by ${words(day, true)}`;
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
    playing = +slider.value < +slider.max ? setTimeout(next, PLAY) : null;
    if (!playing) stop();
  };
  playing = setTimeout(next, PLAY);
  return undefined;
}

function setDay(day) {
  state.day = isoOf(day);
  showDay();
  for (const side of SIDES) if (state[side] && current[side]) paintSide(side);
  remember();
}

function showBehind() {
  const { background } = result;
  const looks = [["none", "None"], ...Object.entries(background?.looks ?? {})];
  setSegments(by("looks"), looks, state.look);
  by("date-row").hidden = state.look === "none";
  by("date").value = state.date ?? "";
  const hint = by("behind-hint");
  const far = background && state.look !== "none" && sides.left && Math.round(sides.left.map.getZoom()) < background.minzoom;
  const note = !background ? "Start the viewer with --cube to see images here."
    : far ? "Zoom in to see the background."
    : state.look === "ndvi" ? "NDVI from 0, pale, to 0.9, dark green." : "";
  hint.hidden = !note;
  hint.textContent = note;
}

// The link -----------------------------------------------------------------------------------------

let writing;
function remember() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const { map } = sides.left;
    const { lng, lat } = map.getCenter();
    state.map = [map.getZoom(), lat, lng];
    history.replaceState(null, "", write(state));
  }, 120);
}

/** Take over what a link says. */
function adopt(said) {
  const usual = result.themes[0];
  const looks = { none: 1, ...result.background?.looks };
  const dates = result.background?.dates ?? [];
  state = {
    ...said,
    left: existing(said.left, usual),
    right: said.right && existing(said.right, usual),
    split: said.split ?? 0.5,
    opacity: said.opacity ?? 100,
    day: dayOf(said.day) === null ? null : said.day,
    look: looks[said.look] ? said.look : "none",
    date: dates.some((one) => one.time === said.date) ? said.date : clearest(dates),
  };
  state.at = staged(state.left) ? state.left.at : "sos50/1";
}

/** The clearest image of the year; of several the one nearest to its middle. */
function clearest(dates) {
  const score = ({ time, clear }) => clear - Math.abs(dayOf(time.slice(0, 10)) - 182) / 2000;
  return dates.length ? dates.reduce((best, one) => (score(one) > score(best) ? one : best)).time : null;
}

async function follow() {
  const said = read(location.hash);
  const { pixel } = state;
  adopt(said);
  if (said.map) sides.left.map.jumpTo({ zoom: said.map[0], center: [said.map[2], said.map[1]] });
  await update();
  if (state.pixel && String(state.pixel) !== String(pixel)) await pick(state.pixel);
  if (!state.pixel && panel.pixel) closePanel();
}

// The pixel ----------------------------------------------------------------------------------------

async function pick(place, byKey = false) {
  const [west, south, east, north] = result.bounds;
  if (place[0] < west || place[0] > east || place[1] < south || place[1] > north) {
    tell("There is no map there.");
    return;
  }
  try {
    const pixel = await panel.open(place);
    state.pixel = [pixel.lon, pixel.lat];
    for (const side of Object.values(sides)) side.setPixel(pixel.outline);
    by("show-panel").disabled = false;
    sheet("panel");
    if (byKey) by("panel").focus();
    const covered = getComputedStyle(by("show-panel").parentElement).display !== "none"; // a phone
    if (covered) sides.left.map.easeTo({ center: state.pixel, offset: [0, -0.3 * by("view").clientHeight] });
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(/outside the grid|no place/.test(error.message) ? "There is no map there." : error.message);
  }
  remember();
}

function closePanel() {
  if (by("panel").contains(document.activeElement)) sides.left.map.getCanvas().focus();
  panel.close();
  state.pixel = null;
  for (const side of Object.values(sides)) side.setPixel(null);
  by("show-panel").disabled = true;
  sheet(null);
  remember();
}

/** On small screens: which sheet covers the lower part of the map. */
function sheet(name) {
  for (const one of ["controls", "panel"]) {
    by(one).classList.toggle("open", one === name);
    by(`show-${one}`).setAttribute("aria-expanded", String(one === name));
  }
}

function listen(side) {
  const { map } = side;
  const readout = by("readout");
  map.on("click", ({ lngLat }) => pick([lngLat.lng, lngLat.lat]));
  map.on("pick", ({ lngLat }) => pick([lngLat.lng, lngLat.lat]));
  map.on("mousemove", ({ lngLat }) => {
    const value = side.at(lngLat);
    readout.hidden = value === undefined;
    if (value !== undefined) readout.textContent = inWords(current[side.side], value);
  });
  map.on("mouseout", () => (readout.hidden = true));
  map.getCanvas().addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const { lng, lat } = map.getCenter();
    pick([lng, lat], true);
  });
}

// Start --------------------------------------------------------------------------------------------

function listenToControls() {
  by("swipe").addEventListener("change", (event) => {
    state.right = event.target.checked ? other() : null;
    update();
  });
  by("opacity").addEventListener("input", (event) => {
    state.opacity = +event.target.value;
    by("opacity-text").textContent = `${state.opacity} %`;
    for (const side of SIDES) if (state[side] && sides[side]) sides[side].setOpacity(state.opacity / 100);
    remember();
  });
  by("day-on").addEventListener("change", (event) => {
    const legend = SIDES.map((side) => state[side] && current[side]).find((one) => one?.kind === "day");
    state.day = event.target.checked ? isoOf((legend.range[0] + legend.range[1]) / 2) : null;
    update();
  });
  by("day").addEventListener("input", (event) => setDay(+event.target.value));
  by("play").addEventListener("click", play);
  by("looks").addEventListener("change", (event) => {
    state.look = event.target.value;
    update();
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
  const divider = by("divider");
  const drag = (event) => {
    const box = by("view").getBoundingClientRect();
    moveSplit((event.clientX - box.left) / box.width);
  };
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    divider.addEventListener("pointermove", drag);
  });
  for (const end of ["pointerup", "pointercancel"]) divider.addEventListener(end, () => divider.removeEventListener("pointermove", drag));
  divider.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: state.split - 0.05, ArrowRight: state.split + 0.05, Home: 0, End: 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    moveSplit(to);
  });
  by("copy").addEventListener("click", async () => {
    history.replaceState(null, "", write(state));
    await navigator.clipboard.writeText(location.href).then(
      () => tell("The link is copied."),
      () => tell("Copy the address of the page: it holds all you have chosen."),
    );
  });
  by("help-open").addEventListener("click", () => by("help").showModal());
  by("show-controls").addEventListener("click", () => sheet(by("controls").classList.contains("open") ? null : "controls"));
  by("show-panel").addEventListener("click", () => sheet(by("panel").classList.contains("open") ? null : "panel"));
  document.addEventListener("keydown", shortcut);
  window.addEventListener("hashchange", follow);
}

function moveSplit(share) {
  state.split = Math.min(1, Math.max(0, share));
  setSplit();
  remember();
}

function shortcut(event) {
  const typing = /^(SELECT|TEXTAREA)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey;
  if (typing || by("help").open) return;
  if (event.key === "Escape" && panel.pixel) closePanel();
  else if (event.key === "s") by("swipe").click();
  else if (event.key === "d" && !by("by-day").disabled) by("day-on").click();
  else if (event.key === "b" && result.background) {
    const looks = ["none", ...Object.keys(result.background.looks)];
    state.look = looks[(looks.indexOf(state.look) + 1) % looks.length];
    update();
  } else if (event.key === "?") by("help").showModal();
}

function introduce() {
  document.title = `${result.title} ${result.year} · Deep-CroP`;
  by("title").textContent = `${result.title} · ${result.year}`;
  by("simulated").hidden = !result.simulated;
  by("date").append(
    ...(result.background?.dates ?? []).map(({ time, clear }) => {
      const day = dayOf(time.slice(0, 10));
      return new Option(`${words(day, true)} · ${Math.round(100 * clear)} % clear`, time);
    }),
  );
  by("missing").hidden = !result.missing.length;
  by("missing").textContent = `Files are missing from this result: ${result.missing.join(", ")}.`;
  const sources = Object.values(result.sources);
  by("about").textContent = [...(sources.length ? [`From ${sources.join("; ")}.`] : []), `${result.software}.`].join(" ");
}

async function start() {
  result = await json("api/result");
  setYear(result.year);
  setUp(result);
  introduce();
  fill("left");
  fill("right");
  const said = read(location.hash);
  adopt(said);
  const camera = said.map && { zoom: said.map[0], center: [said.map[2], said.map[1]] };
  sides.left = new Side(by("map-left"), "left", result, camera, tell);
  sides.left.addControls();
  panel = new Panel(by("panel"), result, closePanel);
  listen(sides.left);
  listenToControls();
  await sides.left.ready;
  sides.left.map.on("moveend", () => {
    showBehind();
    remember();
  });
  await update();
  if (state.pixel) await pick(state.pixel);
  document.body.dataset.ready = "yes";
}

start().catch((error) => tell(`This page cannot start: ${error.message}`));
