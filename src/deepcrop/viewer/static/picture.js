// Save what the map shows as a PNG: with title, date, legends, and the mark of simulated data.

import { dateText, dayOf } from "./days.js";

const HEAD = 62; // pixels above the map
const FONT = 'system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const INK = "#1c2420";
const SOFT = "#5b665f";
const WARN = "#a50f15";

/** Save the view. `mapped` is the element that holds maps and legends. */
export async function savePicture({ result, state, sides, mapped }) {
  const box = mapped.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(box.width * scale);
  canvas.height = Math.round((box.height + HEAD) * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, box.width, HEAD);
  drawHead(pen, result, box.width);
  pen.translate(0, HEAD);
  drawMap(pen, sides.left.map, box, 0);
  if (state.right) {
    const from = state.split * box.width;
    drawMap(pen, sides.right.map, box, from);
    pen.fillStyle = "#fff";
    pen.fillRect(from - 2, 0, 4, box.height);
  }
  for (const camera of sides.left.result.cameras) drawCamera(pen, sides.left.map.project([camera.lon, camera.lat]));
  for (const legend of mapped.querySelectorAll(".legend:not([hidden])")) drawLegend(pen, legend, box);
  drawFoot(pen, mapped, box);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error("the browser made no picture of this size");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = nameOf(result, mapped);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function nameOf(result, mapped) {
  const layer = mapped.querySelector(".legend h2")?.textContent ?? "";
  const parts = [result.simulated ? "SIMULATED" : "", "deepcrop", result.title, layer, result.until ? `as known on ${result.until}` : ""];
  return `${parts.filter(Boolean).join(" ").replace(/[^\p{L}\p{N}-]+/gu, "_").slice(0, 150)}.png`;
}

function drawHead(pen, result, width) {
  pen.textBaseline = "middle";
  let right = width - 12;
  if (result.simulated) {
    pen.font = `650 12px ${FONT}`;
    const length = pen.measureText("SIMULATED DATA").width + 16;
    pen.fillStyle = WARN;
    pen.fillRect(right - length, HEAD / 2 - 11, length, 22);
    pen.fillStyle = "#fff";
    pen.fillText("SIMULATED DATA", right - length + 8, HEAD / 2 + 1);
    right -= length + 12;
  }
  const known = result.until ? `As known on ${dateText(dayOf(result.until), true)}` : "Whole year";
  const sources = Object.values(result.sources);
  const about = [result.software, ...(sources.length ? [`from ${sources.join("; ")}`] : [])].join(", ");
  [
    [`${result.title} · ${result.year_label}`, `600 15px ${FONT}`, INK],
    [known, `600 12px ${FONT}`, INK],
    [about, `11px ${FONT}`, SOFT],
  ].forEach(([text, font, colour], k) => {
    Object.assign(pen, { font, fillStyle: colour });
    pen.fillText(shortened(pen, text, right - 14), 14, 14 + 18 * k);
  });
}

/** A text, cut to a width. */
function shortened(pen, text, width) {
  let length = text.length;
  const cut = () => (length < text.length ? `${text.slice(0, length)}…` : text);
  while (length > 1 && pen.measureText(cut()).width > width) length -= 1;
  return cut();
}

/** Draw a map right of `from`. Its canvas is read in the same task that draws it, before it is cleared. */
function drawMap(pen, map, box, from) {
  map.redraw();
  pen.save();
  pen.beginPath();
  pen.rect(from, 0, box.width - from, box.height);
  pen.clip();
  pen.drawImage(map.getCanvas(), 0, 0, box.width, box.height);
  pen.restore();
}

function drawCamera(pen, { x, y }) {
  pen.beginPath();
  pen.arc(x, y, 4.5, 0, 2 * Math.PI);
  Object.assign(pen, { fillStyle: "#111", strokeStyle: "#fff", lineWidth: 2 });
  pen.fill();
  pen.stroke();
}

/** Draw a legend of the page: each of its parts at its place, with its colours. */
function drawLegend(pen, legend, box) {
  const at = (element) => {
    const { left, top, width, height } = element.getBoundingClientRect();
    return [left - box.left, top - box.top, width, height];
  };
  pen.fillStyle = "#fff";
  pen.fillRect(...at(legend));
  pen.save();
  pen.beginPath();
  pen.rect(...at(legend)); // a long list of classes goes on below the legend's border
  pen.clip();
  for (const bar of legend.querySelectorAll("rect")) {
    pen.fillStyle = "#98a29a";
    pen.globalAlpha = +bar.getAttribute("opacity");
    pen.fillRect(...at(bar));
  }
  pen.globalAlpha = 1;
  for (const strip of legend.querySelectorAll(".strip")) {
    const [x, y, width, height] = at(strip);
    const colours = getComputedStyle(strip).backgroundImage.match(/rgba?\([^)]*\)/g) ?? [];
    const shades = pen.createLinearGradient(x, 0, x + width, 0);
    colours.forEach((colour, k) => shades.addColorStop(k / (colours.length - 1), colour));
    pen.fillStyle = shades;
    pen.fillRect(x, y, width, height);
    for (const part of strip.querySelectorAll("u, b")) {
      pen.fillStyle = getComputedStyle(part).backgroundColor;
      pen.fillRect(...at(part));
    }
  }
  for (const swatch of legend.querySelectorAll("li i")) drawSwatch(pen, swatch, at(swatch));
  for (const text of legend.querySelectorAll("h2, .ticks span, .gap, li")) drawText(pen, text, box);
  pen.restore();
}

function drawSwatch(pen, swatch, [x, y, width, height]) {
  pen.fillStyle = getComputedStyle(swatch).backgroundColor;
  pen.fillRect(x, y, width, height);
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  if (swatch.className === "hatched") {
    Object.assign(pen, { strokeStyle: "rgb(255 255 255 / 70%)", lineWidth: 2.8 });
    for (let k = -height; k < width; k += 5.7) {
      pen.beginPath();
      pen.moveTo(x + k, y + height);
      pen.lineTo(x + k + height, y);
      pen.stroke();
    }
  } else if (swatch.className === "dotted") {
    pen.fillStyle = "#6d766f";
    for (let i = 2; i < width; i += 6) for (let j = 2; j < height; j += 6) pen.fillRect(x + i, y + j, 2, 2);
  }
  pen.restore();
  if (swatch.className) {
    Object.assign(pen, { strokeStyle: "#98a29a", lineWidth: 1 });
    pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  }
}

/** Draw each line of the text of an element where the page has it. */
function drawText(pen, element, box) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const style = getComputedStyle(node.parentElement);
    pen.font = `${style.fontWeight} ${style.fontSize} ${FONT}`;
    pen.fillStyle = style.color;
    pen.textBaseline = "middle";
    for (const [line, rect] of linesOf(node)) pen.fillText(line.trim(), rect.left - box.left, rect.top - box.top + rect.height / 2, rect.width + 6);
  }
}

/** The lines into which the page has broken a text, each with its place. */
function linesOf(node) {
  const lines = [];
  const range = document.createRange();
  for (const { 0: word, index } of node.data.matchAll(/\S+\s*/g)) {
    range.setStart(node, index);
    range.setEnd(node, index + word.trimEnd().length);
    const rect = range.getBoundingClientRect();
    const last = lines.at(-1);
    if (last && Math.abs(last[1].top - rect.top) < 3) {
      lines[lines.length - 1] = [last[0] + word, new DOMRect(last[1].left, last[1].top, rect.right - last[1].left, rect.height)];
    } else lines.push([word, rect]);
  }
  return lines;
}

/** Scale bar, and who made the basemap. */
function drawFoot(pen, mapped, box) {
  const bar = mapped.querySelector(".maplibregl-ctrl-scale");
  if (bar) {
    const { left, top, width, height } = bar.getBoundingClientRect();
    const [x, y] = [left - box.left, top - box.top];
    pen.fillStyle = "rgb(255 255 255 / 75%)";
    pen.fillRect(x, y, width, height);
    Object.assign(pen, { strokeStyle: INK, lineWidth: 2 });
    pen.beginPath();
    pen.moveTo(x + 1, y);
    pen.lineTo(x + 1, y + height - 1);
    pen.lineTo(x + width - 1, y + height - 1);
    pen.lineTo(x + width - 1, y);
    pen.stroke();
    drawText(pen, bar, box);
  }
  const credit = mapped.querySelector("#credit:not([hidden])");
  if (credit) {
    const { left, top, width, height } = credit.getBoundingClientRect();
    pen.fillStyle = "rgb(255 255 255 / 75%)";
    pen.fillRect(left - box.left, top - box.top, width, height);
    drawText(pen, credit, box);
  }
}
