/* The stack's viewer: tiles of every pixel, decoded when they come into view; nothing is loaded from elsewhere. */
(() => {
"use strict";
const facts = JSON.parse(document.getElementById("viewer-facts").textContent);
const canvas = document.getElementById("viewer");
const pen = canvas.getContext("2d");
const control = (name) => document.getElementById("view-" + name);
const readout = document.getElementById("readout");
const compass = document.getElementById("compass");
const [W, H] = [facts.levels[0].width, facts.levels[0].height];
const NO_DATA = [59, 91, 122];
const BIT_COLOURS = { 1: [230, 60, 60], 2: [240, 200, 40], 4: [255, 140, 0], 8: [0, 200, 230], 64: [200, 90, 220] };
const MOST_TILES = 120;

/* x, y: zero-based stack pixels at the canvas's centre; zoom: CSS pixels per stack pixel. */
const view = { x: W / 2, y: H / 2, zoom: 1 };
const cursor = { x: null, y: null };
const tiles = new Map();
let look = 0;      // number of the current colours; a tile painted with another is painted again
let table = null;  // colour of each code, as 32-bit ABGR
let asked = false; // a redraw is on its way
let chosen = null; // the source that was clicked, by its place in facts.sources

/* ---- values and colours ---- */
const { zero, soft, steps, offset } = facts.code;
const electrons = (code) => code === 0 ? NaN : zero + soft * Math.sinh((code - offset) / steps);
const toCode = (value) => Math.asinh((value - zero) / soft) * steps + offset;
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const colours = Object.fromEntries(Object.entries(facts.colours).map(([k, v]) => [k, bytes(v)]));
const black = () => electrons(Number(control("black").value));
const white = () => electrons(Number(control("white").value));

const STRETCHES = {
  linear: (t) => t,
  log: (t) => Math.log1p(1000 * Math.max(t, 0)) / Math.log1p(1000),
  asinh: (t) => Math.asinh(t * 30) / Math.asinh(30),
};

function makeColours() {
  const most = facts.code.most;
  const stretch = STRETCHES[control("stretch").value];
  const map = colours[control("map").value];
  const inverted = control("invert").checked;
  const low = black(), range = Math.max(white() - low, 1e-6);
  table = new Uint32Array(most + 1);
  table[0] = 0xff000000 | NO_DATA[2] << 16 | NO_DATA[1] << 8 | NO_DATA[0];
  for (let code = 1; code <= most; code++) {
    let level = Math.round(255 * Math.min(1, Math.max(0, stretch((electrons(code) - low) / range))));
    if (inverted) level = 255 - level;
    table[code] = 0xff000000 | map[3 * level + 2] << 16 | map[3 * level + 1] << 8 | map[3 * level];
  }
  look += 1;
  redraw();
}

/* ---- tiles ---- */
async function inflate(id) {
  const element = document.getElementById(id);
  const stream = new Blob([bytes(element.textContent.trim())]).stream();
  return new Uint8Array(await new Response(stream.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

function sizeOf(level, i, j) {
  const { width, height } = facts.levels[level];
  return [Math.min(facts.side, width - i * facts.side), Math.min(facts.side, height - j * facts.side)];
}

function tileAt(level, i, j) {
  const name = `${level}-${i}-${j}`;
  let tile = tiles.get(name);
  if (tile) { tiles.delete(name); tiles.set(name, tile); return tile; }
  tile = { level, i, j, codes: null, mask: null, canvas: null, look: -1 };
  tiles.set(name, tile);
  decode(name, tile).then(redraw);
  for (const [old] of tiles) { if (tiles.size <= MOST_TILES) break; tiles.delete(old); }
  return tile;
}

async function decode(name, tile) {
  const [width, height] = sizeOf(tile.level, tile.i, tile.j);
  const n = width * height;
  const [packed, mask] = await Promise.all([inflate("d" + name), inflate("m" + name)]);
  const codes = new Uint16Array(n);
  for (let row = 0, k = 0; row < height; row++) {
    for (let column = 0, last = 0; column < width; column++, k++) {
      const folded = packed[k] | packed[n + k] << 8;
      codes[k] = last += folded >> 1 ^ -(folded & 1); // modulo 65536
    }
  }
  Object.assign(tile, { codes, mask, width, height });
}

function paint(tile) {
  if (tile.look === look) return tile.canvas;
  const { width, height, codes, mask } = tile;
  tile.canvas ??= Object.assign(document.createElement("canvas"), { width, height });
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const flags = control("flags").checked;
  for (let row = 0; row < height; row++) {
    let k = row * width, to = (height - 1 - row) * width; // FITS counts rows from below
    for (let column = 0; column < width; column++, k++, to++) {
      pixels[to] = table[codes[k]];
      if (flags && mask[k] & 79) pixels[to] = flagged(pixels[to], mask[k]);
    }
  }
  tile.canvas.getContext("2d").putImageData(image, 0, 0);
  tile.look = look;
  return tile.canvas;
}

function flagged(colour, bits) {
  const bit = [64, 4, 8, 1, 2].find((one) => bits & one);
  const over = BIT_COLOURS[bit];
  const mix = (shift, value) => ((colour >>> shift & 255) * 0.3 + value * 0.7) << shift;
  return 0xff000000 | mix(16, over[2]) | mix(8, over[1]) | mix(0, over[0]);
}

/* ---- drawing ---- */
const size = () => [canvas.clientWidth, canvas.clientHeight];
const toScreen = (x, y) => [(x - view.x) * view.zoom + size()[0] / 2, (view.y - y) * view.zoom + size()[1] / 2];
const toStack = (px, py) => [(px - size()[0] / 2) / view.zoom + view.x, view.y - (py - size()[1] / 2) / view.zoom];

function redraw() {
  if (!asked) { asked = true; requestAnimationFrame(draw); }
}

function draw() {
  asked = false;
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = size();
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = `rgb(${NO_DATA})`;
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingEnabled = view.zoom * ratio < 1;
  const last = facts.levels.length - 1;
  const level = Math.min(last, Math.max(0, Math.floor(-Math.log2(view.zoom * ratio) + 0.3)));
  const shown = drawLevel(last);
  if (level !== last) drawLevel(level);
  if (control("sources").checked) drawSources();
  if (shown && facts.wcs) drawCompass();
  if (cursor.x !== null) drawCursor();
  tell();
}

function drawLevel(level) {
  const factor = 2 ** level, span = facts.side * factor;
  const [width, height] = size();
  const [left, top] = toStack(0, 0), [right, bottom] = toStack(width, height);
  const first = (value) => Math.max(0, Math.floor(value / span));
  let shown = false;
  for (let j = first(bottom); j * span < Math.min(top, H); j++) {
    for (let i = first(left); i * span < Math.min(right, W); i++) {
      const tile = tileAt(level, i, j);
      if (!tile.codes) continue;
      const [x, y] = toScreen(i * span, j * span + tile.height * factor);
      pen.drawImage(paint(tile), x, y, tile.width * factor * view.zoom, tile.height * factor * view.zoom);
      shown = true;
    }
  }
  return shown;
}

function drawSources() {
  const [width, height] = size();
  pen.strokeStyle = "#35e0a0";
  pen.lineWidth = 1;
  for (const [x, y, fwhm] of facts.sources) {
    const [px, py] = toScreen(x - 0.5, y - 0.5);
    if (px < -20 || py < -20 || px > width + 20 || py > height + 20) continue;
    pen.beginPath();
    pen.arc(px, py, Math.max(5, 1.5 * fwhm * view.zoom), 0, 2 * Math.PI);
    pen.stroke();
  }
}

/* North, east and a length of round arcseconds, below the picture, where they cover no data. */
function drawCompass() {
  const ratio = window.devicePixelRatio || 1, [width, height] = [compass.clientWidth, compass.clientHeight];
  [compass.width, compass.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const pen = compass.getContext("2d"), colour = getComputedStyle(compass).color;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const w = facts.wcs, turn = Math.sign(w.CD1_1 * w.CD2_2 - w.CD1_2 * w.CD2_1), arm = 26;
  const north = Math.atan2(turn * w.CD1_1, -turn * w.CD1_2), east = Math.atan2(-turn * w.CD2_1, turn * w.CD2_2);
  const most = 120 / view.zoom * facts.scale;
  const length = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60].filter((one) => one <= most).pop() ?? 0.05;
  const [x, y] = [height / 2, height / 2], left = height + 14, end = left + length / facts.scale * view.zoom;
  const lines = [north, east].map((angle) => [x, y, x + arm * Math.cos(angle), y - arm * Math.sin(angle)]);
  lines.push([left, y, end, y], [left, y - 4, left, y + 4], [end, y - 4, end, y + 4]);
  const words = [north, east].map((angle, place) => (
    ["NE"[place], x + (arm + 9) * Math.cos(angle), y - (arm + 9) * Math.sin(angle)]));
  words.push([`${length}″`, (left + end) / 2, y - 11]);
  Object.assign(pen, { font: "600 13px system-ui, sans-serif", textAlign: "center", textBaseline: "middle" });
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1.5;
  for (const [x0, y0, x1, y1] of lines) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }
  for (const word of words) pen.fillText(...word);
}

function drawCursor() {
  const [x, y] = toScreen(cursor.x + 0.5, cursor.y + 0.5);
  pen.strokeStyle = "#ffd23f";
  pen.lineWidth = 1.5;
  const gap = Math.max(4, view.zoom);
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    pen.beginPath();
    pen.moveTo(x + dx * gap, y + dy * gap);
    pen.lineTo(x + dx * (gap + 12), y + dy * (gap + 12));
    pen.stroke();
  }
}

/* ---- read-out ---- */
function sky(x, y) { // one-based FITS pixels to degrees by the tangential projection
  const w = facts.wcs;
  if (!w) return null;
  const rad = Math.PI / 180, dx = x - w.CRPIX1, dy = y - w.CRPIX2;
  const xi = (w.CD1_1 * dx + w.CD1_2 * dy) * rad, eta = (w.CD2_1 * dx + w.CD2_2 * dy) * rad;
  const d0 = w.CRVAL2 * rad, below = Math.cos(d0) - eta * Math.sin(d0);
  const ra = w.CRVAL1 + Math.atan2(xi, below) / rad;
  const dec = Math.atan2(Math.sin(d0) + eta * Math.cos(d0), Math.hypot(xi, below)) / rad;
  return [(ra % 360 + 360) % 360, dec];
}

function sexagesimal(value, digits, signed) {
  const sign = signed ? (value < 0 ? "−" : "+") : "";
  const unit = 10 ** digits, total = Math.round(Math.abs(value) * 3600 * unit);
  const seconds = (total % (60 * unit)) / unit, minutes = Math.floor(total / unit / 60) % 60;
  const two = (number, places) => number.toFixed(places).padStart(places ? 3 + places : 2, "0");
  return `${sign}${two(Math.floor(total / unit / 3600), 0)}:${two(minutes, 0)}:${two(seconds, digits)}`;
}

function tell() {
  if (cursor.x === null) return;
  if (chosen !== null) { readout.textContent = describe(chosen); return; }
  const [x, y] = [cursor.x, cursor.y];
  if (x < 0 || y < 0 || x >= W || y >= H) { readout.textContent = "outside the picture"; return; }
  const tile = tileAt(0, Math.floor(x / facts.side), Math.floor(y / facts.side));
  const parts = [`x ${x + 1}  y ${y + 1}`];
  const place = sky(x + 1, y + 1);
  if (place) parts.push(`RA ${sexagesimal(place[0] / 15, 4, false)}  Dec ${sexagesimal(place[1], 3, true)}`);
  if (tile.codes) {
    const k = (y % facts.side) * tile.width + x % facts.side;
    const value = electrons(tile.codes[k]);
    parts.push(Number.isNaN(value) ? "no data" : `${value.toPrecision(4).replace(/e\+?/, "e")} ${facts.unit}`);
    const names = facts.bits.filter(([bit]) => tile.mask[k] & bit && bit !== 16).map(([, name]) => name);
    if (names.length) parts.push(names.join(", "));
  } else parts.push("…");
  readout.textContent = parts.join("   ");
}

/* The source below a place of the window, or the one nearest to it within 12 CSS pixels; null without one. */
function sourceAt(px, py) {
  let best = null, least = 12;
  facts.sources.forEach(([x, y, fwhm], place) => {
    const [sx, sy] = toScreen(x - 0.5, y - 0.5);
    const away = Math.hypot(sx - px, sy - py) - (control("sources").checked ? Math.max(5, 1.5 * fwhm * view.zoom) : 0);
    if (away < least) [best, least] = [place, away];
  });
  return best;
}

function describe(place) {
  const [x, y] = facts.sources[place], where = sky(x, y);
  const parts = [`Source at x ${x}  y ${y}`];
  if (where) parts.push(`RA ${sexagesimal(where[0] / 15, 4, false)}  Dec ${sexagesimal(where[1], 3, true)}`);
  for (const { name, unit, values } of facts.rows) {
    if (values[place] !== null) parts.push(`${name} ${values[place]}${unit && " " + unit}`);
  }
  return parts.join("   ");
}

/* ---- moving about ---- */
function zoomAt(factor, px, py) {
  const [x, y] = toStack(px, py);
  const [width, height] = size();
  const least = whole();
  view.zoom = Math.min(40, Math.max(least, view.zoom * factor));
  view.x = x - (px - width / 2) / view.zoom;
  view.y = y + (py - height / 2) / view.zoom;
  keepInside();
}
const zoomCentre = (factor) => zoomAt(factor, size()[0] / 2, size()[1] / 2);

function keepInside() {
  view.x = Math.min(W, Math.max(0, view.x));
  view.y = Math.min(H, Math.max(0, view.y));
  redraw();
}

/* The zoom at which all of the stack is seen. */
const whole = () => Math.min(size()[0] / W, size()[1] / H);

function fit() {
  Object.assign(view, { x: W / 2, y: H / 2, zoom: whole() });
  redraw();
}

/* Where most of the stack has no data, its largest part comes first. */
function beginView() {
  fit();
  if (!facts.begin) return;
  const [x, y, width, height] = facts.begin;
  Object.assign(view, { x, y, zoom: Math.min(size()[0] / width, size()[1] / height) });
  readout.textContent = "The largest part of the stack; Fit shows all of it. " + readout.textContent;
}

function pointAt(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function setCursor(px, py) {
  chosen = null;
  [cursor.x, cursor.y] = toStack(px, py).map(Math.floor);
  redraw();
}

const fingers = new Map();
let pressed = null; // where a finger or button went down
canvas.addEventListener("pointerdown", (event) => {
  pressed = pointAt(event);
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, pointAt(event));
});
canvas.addEventListener("pointermove", (event) => {
  const now = pointAt(event), before = fingers.get(event.pointerId);
  if (!before) { if (chosen === null || now.some((v, k) => Math.abs(v - pressed[k]) > 8)) setCursor(...now); return; }
  if (fingers.size === 1 && Math.hypot(now[0] - pressed[0], now[1] - pressed[1]) < 3) return;
  if (fingers.size === 2) {
    const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
    const spread = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
    zoomAt(spread(now) / Math.max(spread(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }
  view.x -= (now[0] - before[0]) / view.zoom / fingers.size;
  view.y += (now[1] - before[1]) / view.zoom / fingers.size;
  fingers.set(event.pointerId, now);
  setCursor(...now);
  keepInside();
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    const now = pointAt(event), still = Math.hypot(now[0] - pressed[0], now[1] - pressed[1]) < 3;
    const alone = fingers.size === 1;
    fingers.delete(event.pointerId);
    setCursor(...now);
    if (name === "pointerup" && still && alone) chosen = sourceAt(...now);
  });
}
/* The wheel zooms; but a page that is being scrolled goes on, and one that is seen whole scrolls down. */
let scrolled = -Infinity;
addEventListener("wheel", (event) => { if (event.target !== canvas) scrolled = event.timeStamp; }, { passive: true });
canvas.addEventListener("wheel", (event) => {
  if (event.timeStamp - scrolled < 300) { scrolled = event.timeStamp; return; }
  if (event.deltaY > 0 && view.zoom <= whole() * 1.001) return;
  event.preventDefault();
  zoomAt(Math.exp(-Math.max(-200, Math.min(200, event.deltaY)) / 400), ...pointAt(event));
}, { passive: false });
canvas.addEventListener("dblclick", (event) => zoomAt(2, ...pointAt(event)));

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = ARROWS[event.key];
  if (arrow) moveCursor(...arrow, event.shiftKey ? 1 : Math.max(1, Math.round(40 / view.zoom)));
  else if (event.key === "+" || event.key === "=") zoomCentre(1.5);
  else if (event.key === "-") zoomCentre(1 / 1.5);
  else if (event.key === "0") fit();
  else if (event.key === "1") zoomCentre(1 / view.zoom);
  else return;
  event.preventDefault();
});

function moveCursor(dx, dy, step) {
  if (cursor.x === null) [cursor.x, cursor.y] = [Math.floor(view.x), Math.floor(view.y)];
  cursor.x = Math.min(W - 1, Math.max(0, cursor.x + dx * step));
  cursor.y = Math.min(H - 1, Math.max(0, cursor.y + dy * step));
  const [px, py] = toScreen(cursor.x, cursor.y), [width, height] = size();
  if (px < 0 || py < 0 || px > width || py > height) [view.x, view.y] = [cursor.x, cursor.y];
  redraw();
}

/* ---- beginning ---- */
function begin() {
  const code = (value) => Math.round(Math.max(1, toCode(value)));
  const low = code(facts.limits[0]), high = code(facts.limits[1]);
  for (const [name, value] of [["black", low], ["white", high]]) {
    Object.assign(control(name), { min: Math.max(1, low - 100), max: facts.code.most, value });
  }
  for (const name of ["stretch", "map", "invert", "black", "white", "flags"]) {
    control(name).addEventListener("input", makeColours);
  }
  control("sources").addEventListener("input", redraw);
  control("in").addEventListener("click", () => zoomCentre(1.5));
  control("out").addEventListener("click", () => zoomCentre(1 / 1.5));
  control("fit").addEventListener("click", fit);
  control("full").addEventListener("click", () => zoomCentre(1 / view.zoom));
  document.querySelector(".stack").classList.add("live");
  new ResizeObserver(redraw).observe(canvas);
  document.getElementById("theme").addEventListener("click", redraw);
  beginView();
  makeColours();
}
begin();
})();
