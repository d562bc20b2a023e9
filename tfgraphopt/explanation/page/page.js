"use strict";
/* The page's own script: reads the data, fills cards and tables, and lets sigma.js draw the graphs. No network is used. */

const $ = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (key === "style") node.style.cssText = value;
    else if (value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false).map((c) => (c instanceof Node ? c : String(c))));
  return node;
}

async function readData() {
  const packed = Uint8Array.from(atob($("data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// -- numbers as people read them ------------------------------------------------------------------------------------------

const number = (n) => n.toLocaleString("en");
function bytes(n) {
  if (n === null || n === undefined) return "?";
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (n >= 1000 && unit < 3) { n /= 1000; unit++; }
  return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}
const seconds = (s) => (s >= 1 ? `${s.toFixed(s < 10 ? 2 : 1)} s` : `${(1000 * s).toFixed(s < 0.01 ? 2 : 0)} ms`);
const plural = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;

// -- colours --------------------------------------------------------------------------------------------------------------

const SEGMENTS = ["#3b82f6", "#10b981", "#a855f7", "#ec4899", "#14b8a6", "#6366f1", "#65a30d", "#06b6d4", "#d946ef", "#0f766e", "#8b5cf6", "#be185d"];
const STATUS = {
  "converted": "#3b82f6", "no converter": "#ef4444", "refused": "#f97316", "vetoed": "#eab308", "segment too small": "#b08968",
  "segment dropped": "#8d7b68", "build failed": "#991b1b", "not a candidate": "#98a3b3", "simplified": "#c9d1db",
};
const GREY = "#98a3b3";
const isDark = () => document.documentElement.dataset.theme === "dark";
function hashed(text) {
  let hash = 2166136261;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  hash = (hash ^ (hash >>> 15)) >>> 0;
  return hsl(hash % 360, 52 + (hash >> 9) % 22, isDark() ? 60 : 46);
}
function hsl(h, s, l) { // sigma's programs read hexadecimal colours
  const a = (s / 100) * Math.min(l / 100, 1 - l / 100);
  const part = (n) => {
    const k = (n + h / 30) % 12;
    return Math.round(255 * (l / 100 - a * Math.max(-1, Math.min(k - 3, 9 - k, 1)))).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}
const mixed = (colour) => (isDark() ? "#2a3442" : "#dfe4ea");

// -- data -----------------------------------------------------------------------------------------------------------------

let data, segmentColour;
const state = { view: null, selected: -1, near: new Set(), matches: null, colour: "engine", constants: true };

function prepare(view) {
  if (view.ready) return view;
  const t = data.texts;
  view.count = view.name.length;
  view.at = (i) => ({
    name: view.name[i], op: t[view.op[i]], segment: t[view.segment[i]], status: t[view.status[i]], reason: t[view.reason[i]],
    converter: t[view.converter[i]], device: t[view.device[i]], types: view.types[i].map((k) => t[k]),
    origin: view.origin[i].map((k) => t[k]), history: view.history[i].map((k) => t[k]), small: view.small[i] === 1,
  });
  view.index = new Map(view.name.map((n, i) => [n, i]));
  view.inputs = Array.from({ length: view.count }, () => []);
  view.readers = Array.from({ length: view.count }, () => []);
  for (let e = 0; e < view.edges.length; e += 3) {
    view.inputs[view.edges[e + 1]].push(view.edges[e]);
    view.readers[view.edges[e]].push(view.edges[e + 1]);
  }
  view.isEngine = (i) => view.kind === "after" && segmentColour.has(view.name[i]);
  view.ready = true;
  return view;
}

function colourOf(view, i) {
  const segment = data.texts[view.segment[i]], op = data.texts[view.op[i]], status = data.texts[view.status[i]];
  if (state.colour === "op") return hashed(op);
  if (state.colour === "type") {
    const type = view.types[i].length ? data.texts[view.types[i][0]].split("[")[0] : "";
    return TYPES[type] || GREY;
  }
  if (view.kind === "layers") return op === "input" ? GREY : FAMILY(op);
  if (segment && segmentColour.has(segment)) return segmentColour.get(segment);
  return STATUS[status] || GREY;
}
const TYPES = { f32: "#3b82f6", f16: "#10b981", bf16: "#14b8a6", i8: "#f97316", fp8: "#ec4899", i32: "#a855f7", i64: "#8b5cf6", bool: "#eab308", f64: "#64748b" };
const FAMILY = (op) => (/convol|matmul|matrix|gemm|deconv/.test(op) ? "#3b82f6" : /quantize/.test(op) ? "#f97316" : /cast/.test(op) ? "#eab308"
  : /transpose|shuffle|reshape|concat|slice|gather|pad|expand|squeeze/.test(op) ? "#a855f7" : /constant/.test(op) ? GREY
  : /pool|reduce|norm/.test(op) ? "#14b8a6" : "#10b981");

// -- summary --------------------------------------------------------------------------------------------------------------

function statusCounts(view) {
  const counts = new Map();
  for (const k of view.status) { const s = data.texts[k]; if (s) counts.set(s, (counts.get(s) || 0) + 1); }
  return [...counts].sort((a, b) => b[1] - a[1]);
}

function fillSummary() {
  const before = data.views[0], counts = new Map(statusCounts(before));
  const total = before.name.length, inside = counts.get("converted") || 0, gone = counts.get("simplified") || 0;
  const crossing = data.boundaries.reduce((sum, b) => sum + (b.bytes || 0), 0), unknown = data.boundaries.filter((b) => b.bytes === null).length;
  const engineBytes = data.segments.reduce((sum, s) => sum + s.engine_bytes, 0);
  $("asked").append(...Object.entries(data.asked).map(([k, v]) => el("span", { class: "chip" }, `${k} `, el("b", {}, v))));
  const built = data.segments.filter((s) => s.engine_bytes).length;
  const card = (label, value, unit, more) => el("div", { class: "card" }, el("div", { class: "label" }, label),
    el("div", { class: "value" }, value, unit ? el("small", {}, unit) : null), el("div", { class: "more" }, more));
  $("cards").append(
    card("Nodes", number(total), "", `${plural(data.views[1].name.length, "node")} afterwards`),
    card("In engines", total ? `${Math.round((100 * inside) / total)}` : "0", "%", `${number(inside)} converted, ${number(gone)} simplified away`),
    card("Engines", number(data.segments.length), "", built ? `${built} built, ${bytes(engineBytes)}` : "none built: an explanation only"),
    card("Stay in TensorFlow", number(total - inside - gone), "", plural(new Set(blockers(before).map((i) => data.texts[before.op[i]])).size, "op type") + " refused"),
    card("Cross the boundary", bytes(crossing).split(" ")[0], bytes(crossing).split(" ")[1], `${plural(data.boundaries.length, "tensor")}${unknown ? `, ${unknown} of unknown size` : ""}, per call`),
    card("Optimiser", seconds(data.seconds - data.buildSeconds).split(" ")[0], seconds(data.seconds - data.buildSeconds).split(" ")[1],
      data.buildSeconds ? `and ${seconds(data.buildSeconds)} in engine builders` : `${data.timings.length} passes`),
  );
  const bar = el("div", { class: "bar" }), keys = el("div", { class: "keys" });
  for (const [status, count] of statusCounts(before)) {
    bar.append(el("i", { style: `flex:${count};background:${STATUS[status] || GREY}`, title: `${status}: ${count}` }));
    keys.append(el("span", {}, el("i", { class: "dot", style: `background:${STATUS[status] || GREY}` }), `${status} `, el("b", {}, number(count))));
  }
  $("shares").append(bar, keys);
}

const blockers = (view) => [...view.status.keys()].filter((i) => ["no converter", "refused", "vetoed", "build failed"].includes(data.texts[view.status[i]]));

function fillAdvice() {
  if (!data.advice.length) { $("advice-section").remove(); return; }
  for (const a of data.advice) {
    const delta = el("div", { class: "delta" });
    if (a.engines_after !== a.engines_before) delta.append(`engines ${a.engines_before} → `, el("b", {}, a.engines_after));
    if (a.nodes_after !== a.nodes_before) delta.append(delta.childNodes.length ? el("br") : "", `nodes inside ${number(a.nodes_before)} → `, el("b", {}, number(a.nodes_after)));
    const where = a.nodes.length ? [" · ", el("button", { class: "link", on: { click: () => show(0, a.nodes) } }, a.nodes.length === 1 ? "show it" : `show ${a.nodes.length} nodes`)] : [];
    $("advice").append(el("li", {}, el("div", { class: "what" }, a.title), delta, el("div", { class: "do" }, a.action, ...where)));
  }
}

// -- tables ---------------------------------------------------------------------------------------------------------------

function table(columns, rows) {
  const body = el("tbody");
  const fill = (sorted) => body.replaceChildren(...sorted.map((row) => el("tr", {}, columns.map((c) => el("td", { class: c.class }, c.cell(row))))));
  const heads = columns.map((c) => el("th", {
    class: `${c.class === "r" ? "r " : ""}${c.key ? "sort" : ""}`,
    on: c.key ? { click: () => { c.down = !c.down; const s = [...rows].sort((a, b) => compare(c.key(a), c.key(b))); fill(c.down ? s.reverse() : s); } } : {},
  }, c.name));
  fill(rows);
  return el("table", {}, el("thead", {}, el("tr", {}, heads)), body);
}
const compare = (a, b) => (a === null ? -1 : b === null ? 1 : typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
const engineName = (name) => el("span", { class: "fit" }, el("i", { class: "dot", style: `background:${segmentColour.get(name) || GREY}` }), name);
const nodeLink = (name, view = 0) => el("button", { class: "link mono", on: { click: () => show(view, [name]) } }, name);

function fillEngines() {
  if (!data.segments.length) { $("engines").append(el("p", { class: "soft", style: "padding:4px 16px" }, "No part of the graph was converted.")); return; }
  const crossing = (s, way) => data.boundaries.filter((b) => b.segment === s.name && b.direction === way).reduce((sum, b) => sum + (b.bytes || 0), 0);
  const top = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1]);
  $("engines").append(table([
    { name: "engine", class: "fit", cell: (s) => engineName(s.name), key: (s) => s.name },
    { name: "nodes", class: "r", cell: (s) => number(s.nodes), key: (s) => s.nodes },
    { name: "ops", cell: (s) => top(s.ops).slice(0, 7).map(([op, n]) => `${op} ${n}`).join(", ") + (top(s.ops).length > 7 ? ", …" : "") },
    { name: "layers", class: "r", cell: (s) => { const i = data.views.findIndex((v) => v.key === s.name); return i < 0 ? "–" : el("button", { class: "link", on: { click: () => show(i, []) } }, number(data.views[i].name.length)); } },
    { name: "transposes", class: "r", cell: (s) => s.transposes ?? "–", key: (s) => s.transposes ?? -1 },
    { name: "in", class: "r", cell: (s) => bytes(crossing(s, "in")), key: (s) => crossing(s, "in") },
    { name: "out", class: "r", cell: (s) => bytes(crossing(s, "out")), key: (s) => crossing(s, "out") },
    { name: "plan", class: "r", cell: (s) => (s.engine_bytes ? bytes(s.engine_bytes) : "–"), key: (s) => s.engine_bytes },
    { name: "build", class: "r", cell: (s) => (s.engine_bytes ? seconds(s.build_seconds) + (s.cached ? " (cached)" : "") : "–"), key: (s) => s.build_seconds },
    { name: "status", cell: (s) => s.status + (s.reason ? `: ${s.reason.split("\n")[0]}` : "") + (s.engine ? ` · ${s.engine}` : "") },
  ], data.segments));
}

function fillReasons() {
  const groups = new Map();
  data.views.forEach((view, v) => { if (view.kind === "before") for (let i = 0; i < view.count; i++) {
    const status = data.texts[view.status[i]];
    if (!status || status === "converted" || status === "simplified") continue;
    const key = `${status}\u0000${data.texts[view.op[i]]}\u0000${data.texts[view.reason[i]]}\u0000${v}`;
    (groups.get(key) || groups.set(key, []).get(key)).push(view.name[i]);
  } });
  const weight = (status) => (["not a candidate"].includes(status) ? 0 : 1);
  const rows = [...groups].map(([key, names]) => { const [status, op, reason, v] = key.split("\u0000"); return { status, op, reason, names, view: Number(v) }; })
    .sort((a, b) => weight(b.status) - weight(a.status) || b.names.length - a.names.length);
  const most = Math.max(1, ...rows.map((r) => r.names.length));
  $("reasons").append(table([
    { name: "nodes", class: "fit", cell: (r) => [el("i", { class: "meter", style: `width:${Math.max(3, (90 * r.names.length) / most)}px;background:${STATUS[r.status] || GREY}` }), number(r.names.length)], key: (r) => r.names.length },
    { name: "op", class: "mono", cell: (r) => r.op, key: (r) => r.op },
    { name: "verdict", class: "fit", cell: (r) => [el("i", { class: "dot", style: `background:${STATUS[r.status] || GREY}` }), r.status], key: (r) => r.status },
    { name: "reason", cell: (r) => r.reason || "–", key: (r) => r.reason },
    { name: "", class: "fit", cell: (r) => [el("button", { class: "link", on: { click: () => show(r.view, r.names) } }, "show"), r.view ? ` in ${data.views[r.view].function}` : ""] },
  ], rows));
  if (!rows.length) $("reasons-section").remove();
}

function fillBoundaries() {
  const rows = [...data.boundaries].sort((a, b) => (b.bytes || 0) - (a.bytes || 0));
  if (!rows.length) { $("boundaries-section").remove(); return; }
  const most = Math.max(1, ...rows.map((b) => b.bytes || 0));
  $("boundaries").append(table([
    { name: "bytes", class: "fit", cell: (b) => [el("i", { class: "meter", style: `width:${Math.max(3, (90 * (b.bytes || 0)) / most)}px` }), bytes(b.bytes)], key: (b) => b.bytes },
    { name: "engine", class: "fit", cell: (b) => engineName(b.segment), key: (b) => b.segment },
    { name: "", cell: (b) => (b.direction === "in" ? "reads" : "gives"), key: (b) => b.direction },
    { name: "tensor", cell: (b) => nodeLink(b.node, prepare(data.views[0]).index.has(b.node) ? 0 : 1), key: (b) => b.node },
    { name: "type", class: "mono", cell: (b) => b.type, key: (b) => b.type },
    { name: "other side", cell: (b) => b.others.slice(0, 4).join(", ") + (b.others.length > 4 ? ` and ${b.others.length - 4} more` : "") || "an output", key: (b) => b.others[0] || "" },
  ], rows));
}

function fillDetails() {
  const tables = data.segments.flatMap((s) => s.tables);
  if (!tables.length) { $("details-section").remove(); return; }
  for (const t of tables) {
    $("details").append(el("h3", {}, t.title), el("div", { class: "scroll" }, table(t.columns.map((name, i) => ({ name, cell: (r) => r[i], key: (r) => (r[i] !== "" && !isNaN(r[i]) ? Number(r[i]) : r[i]) })), t.rows)));
  }
}

function fillPasses() {
  const most = Math.max(1e-9, ...data.timings.map((t) => t.seconds));
  $("passes").append(table([
    { name: "pass", class: "mono", cell: (t) => t.step },
    { name: "time", class: "fit", cell: (t) => [el("i", { class: "meter", style: `width:${Math.max(2, (240 * t.seconds) / most)}px` }), seconds(t.seconds)], key: (t) => t.seconds },
    { name: "graphs", class: "r", cell: (t) => t.graphs, key: (t) => t.graphs },
    { name: "nodes", class: "r", cell: (t) => (t.before === t.after ? number(t.before) : `${number(t.before)} → ${number(t.after)}`), key: (t) => t.after - t.before },
  ], data.timings));
}

const PAGE = 200;
function fillNodes() {
  const view = prepare(data.views[0]);
  const input = el("input", { type: "search", placeholder: "Filter by name, op, verdict, reason, engine" });
  const said = el("span"), place = el("div", { class: "scroll" });
  let shown = PAGE;
  const columns = [
    { name: "node", cell: (i) => nodeLink(view.name[i]) },
    { name: "op", class: "mono", cell: (i) => data.texts[view.op[i]] },
    { name: "type", class: "mono", cell: (i) => view.types[i].map((k) => data.texts[k]).slice(0, 2).join(", ") },
    { name: "verdict", class: "fit", cell: (i) => [el("i", { class: "dot", style: `background:${colourOf(view, i)}` }), data.texts[view.status[i]]] },
    { name: "engine or reason", cell: (i) => data.texts[view.segment[i]] || data.texts[view.reason[i]] },
  ];
  const fill = () => {
    const found = matching(view, input.value);
    said.textContent = `${plural(found.length, "node")}${found.length > shown ? `, the first ${shown} shown` : ""}`;
    place.replaceChildren(table(columns, found.slice(0, shown)));
    if (found.length > shown) place.append(el("p", { style: "padding:0 14px" }, el("button", { on: { click: () => { shown += 5 * PAGE; fill(); } } }, "Show more")));
  };
  input.addEventListener("input", () => { shown = PAGE; fill(); });
  fill();
  $("nodes").append(el("div", { class: "filter" }, input, said), place);
}

function matching(view, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean), t = data.texts, found = [];
  for (let i = 0; i < view.count; i++) {
    const where = `${view.name[i]} ${t[view.op[i]]} ${t[view.status[i]]} ${t[view.reason[i]]} ${t[view.segment[i]]}`.toLowerCase();
    if (words.every((w) => where.includes(w))) found.push(i);
  }
  return found;
}

// -- the graph ------------------------------------------------------------------------------------------------------------

const BOX = { width: 3, height: 0.8 }; // half sizes, in the units of the layout
const RADIUS = 0.78, ENGINE = 1.45, DOT = 0.3, READABLE = 26; // READABLE: pixels a unit that small graphs are shown at
const SMALLEST = 1.7; // pixels of a node's radius, however far away
let renderer = null, pixelsAtOne = 1;
const sizeRatio = (ratio) => Math.min(ratio, Math.max(1e-6, (RADIUS * pixelsAtOne) / SMALLEST));

function buildGraph(view) {
  const graph = new graphology.DirectedGraph();
  for (let i = 0; i < view.count; i++) {
    const engine = view.isEngine(i), small = view.small[i] === 1;
    graph.addNode(i, { x: view.x[i], y: -view.y[i], size: engine ? ENGINE : small ? DOT : RADIUS, unit: engine ? ENGINE : RADIUS,
      label: small ? null : engine ? view.name[i] : data.texts[view.op[i]].replace(/^trt\./, ""), second: secondLine(view, i, engine), color: colourOf(view, i), small });
  }
  for (let e = 0; e < view.edges.length; e += 3) {
    const [source, target, control] = view.edges.slice(e, e + 3);
    if (source !== target) graph.addEdge(source, target, { control: control === 1 });
  }
  return graph;
}

function secondLine(view, i, engine) {
  if (engine) return plural(data.segments.find((s) => s.name === view.name[i]).nodes, "node");
  return view.kind === "layers" && view.types[i].length ? data.texts[view.types[i][0]] : tail(view.name[i]);
}

function nodeReducer(key, attributes) {
  const i = Number(key), result = { ...attributes };
  if (attributes.small && !state.constants) result.hidden = true;
  const dimmed = (state.matches && !state.matches.has(i)) || (state.selected >= 0 && !state.matches && !state.near.has(i));
  if (dimmed) { result.color = mixed(); result.dimmed = true; result.zIndex = 0; } else result.zIndex = 1;
  if (i === state.selected) { result.highlight = true; result.zIndex = 2; }
  return result;
}

function edgeReducer(edge, attributes) {
  const [source, target] = renderer.getGraph().extremities(edge).map(Number);
  const touches = state.selected >= 0 && (source === state.selected || target === state.selected);
  const colour = touches ? css("--accent") : css("--edge");
  return { ...attributes, color: colour, size: touches ? 0.3 : attributes.control ? 0.07 : 0.16, zIndex: touches ? 1 : 0 };
}

const styles = {};
const css = (name) => (styles[name] ||= getComputedStyle(document.documentElement).getPropertyValue(name).trim());

/* A node that is large enough to be read is drawn as a box with its op and its name. */
function drawBox(context, node) {
  const unit = node.size / node.unit, scale = node.unit === ENGINE ? 1.9 : 1;
  const w = BOX.width * unit * scale, h = BOX.height * unit * scale, r = Math.min(h * 0.45, 9);
  context.beginPath();
  context.roundRect(node.x - w, node.y - h, 2 * w, 2 * h, r);
  context.fillStyle = node.color;
  context.fill();
  if (node.highlight) { context.lineWidth = 3; context.strokeStyle = css("--ink"); context.stroke(); }
  const two = h > 15, wanted = Math.min(two ? h * 0.62 : h * 0.95, 17), width = 2 * w - 8;
  if (wanted < 5) return;
  context.textAlign = "center"; context.textBaseline = "middle";
  context.fillStyle = node.dimmed ? css("--faint") : "#fff";
  const font = fitting(context, node.label, width, wanted, 600);
  context.fillText(clipped(context, node.label, width, false), node.x, node.y - (two ? h * 0.3 : -font * 0.04));
  if (!two) return;
  fitting(context, node.second, width, wanted * 0.72, 400);
  context.globalAlpha = 0.88;
  context.fillText(clipped(context, node.second, width, true), node.x, node.y + h * 0.42);
  context.globalAlpha = 1;
}
function fitting(context, text, width, size, weight) { // a little smaller rather than cut off
  context.font = `${weight} ${size}px ${styles.font ||= getComputedStyle(document.body).fontFamily}`;
  const found = Math.max(0.72 * size, size * Math.min(1, width / context.measureText(text).width));
  context.font = `${weight} ${found}px ${styles.font}`;
  return found;
}
const tail = (name) => name.split("/").slice(-2).join("/");
function clipped(context, text, width, keepEnd) {
  if (context.measureText(text).width <= width) return text;
  const part = (n) => (keepEnd ? `…${text.slice(-n)}` : `${text.slice(0, n)}…`);
  let low = 0, high = text.length;
  while (low < high) { const mid = (low + high + 1) >> 1; if (context.measureText(part(mid)).width <= width) low = mid; else high = mid - 1; }
  return low ? part(low) : "";
}

function startGraph() {
  const probe = document.createElement("canvas").getContext("webgl2");
  if (!probe) {
    $("canvas").replaceChildren(el("div", { class: "missing" }, "This browser has no WebGL 2, which the drawing needs. Everything is also in the tables below."));
    return;
  }
  renderer = new Sigma(new graphology.DirectedGraph(), $("canvas"), {
    allowInvalidContainer: true, itemSizesReference: "positions", zoomToSizeRatioFunction: sizeRatio, autoRescale: true,
    labelDensity: 4000, labelGridCellSize: 400, labelRenderedSizeThreshold: 2.6, minEdgeThickness: 0.9, defaultEdgeType: "line",
    renderEdgeLabels: false, enableEdgeEvents: false, zIndex: true, minCameraRatio: 0.0005, maxCameraRatio: 3, stagePadding: 30,
    nodeReducer, edgeReducer, defaultDrawNodeLabel: drawBox, defaultDrawNodeHover: () => {},
  });
  renderer.on("clickStage", ({ event }) => select(pick(event)));
  renderer.on("clickNode", ({ event }) => select(pick(event)));
  renderer.getMouseCaptor().on("mousemovebody", (event) => hover(event));
  $("canvas").addEventListener("mouseleave", () => { $("tip").hidden = true; });
  const camera = renderer.getCamera();
  $("in").onclick = () => camera.animatedZoom({ duration: 200, factor: 1.8 });
  $("out").onclick = () => camera.animatedUnzoom({ duration: 200, factor: 1.8 });
  $("fit").onclick = () => camera.animate({ x: 0.5, y: 0.5, ratio: wholeRatio(), angle: 0 }, { duration: 300 });
}

/* Boxes are wider than what WebGL draws for hit tests, so nodes are found by their place in the layout. */
function gridOf(view) {
  if (view.grid) return view.grid;
  const grid = new Map();
  for (let i = 0; i < view.count; i++) {
    const key = `${Math.floor(view.x[i] / 8)},${Math.floor(view.y[i] / 4)}`;
    (grid.get(key) || grid.set(key, []).get(key)).push(i);
  }
  return (view.grid = grid);
}
function pick(event) {
  const at = renderer.viewportToGraph({ x: event.x, y: event.y }), view = state.view, grid = gridOf(view);
  const x = at.x, y = -at.y, slack = 5 * unitsPerPixel();
  let best = -1, least = Infinity;
  for (let gx = -1; gx <= 1; gx++) for (let gy = -1; gy <= 1; gy++) {
    for (const i of grid.get(`${Math.floor(x / 8) + gx},${Math.floor(y / 4) + gy}`) || []) {
      if (view.small[i] && !state.constants) continue;
      const scale = view.isEngine(i) ? 1.9 : 1, small = view.small[i] === 1;
      const dx = Math.abs(view.x[i] - x), dy = Math.abs(view.y[i] - y);
      const inside = small ? Math.hypot(dx, dy) < Math.max(DOT, slack) : dx < Math.max(BOX.width * scale, slack) && dy < Math.max(BOX.height * scale, slack);
      const distance = Math.hypot(dx, dy) - (small ? 1 : 0);
      if (inside && distance < least) { best = i; least = distance; }
    }
  }
  return best;
}
function unitsPerPixel() {
  const a = renderer.viewportToGraph({ x: 0, y: 0 }), b = renderer.viewportToGraph({ x: 100, y: 0 });
  return Math.abs(b.x - a.x) / 100;
}

function hover(event) {
  const i = pick(event), tip = $("tip");
  $("canvas").classList.toggle("busy", i >= 0);
  if (i < 0) { tip.hidden = true; return; }
  const node = state.view.at(i);
  tip.replaceChildren(el("b", {}, node.name), el("div", { class: "o" }, [node.op, ...node.types.slice(0, 2)].join("  ·  ")),
    ...tipLines(state.view, i, node).map((line) => el("div", {}, line)));
  tip.hidden = false;
  const stage = $("canvas").getBoundingClientRect();
  tip.style.left = `${Math.min(event.x + 16, stage.width - tip.offsetWidth - 8)}px`;
  tip.style.top = `${event.y + 20 + tip.offsetHeight > stage.height ? event.y - tip.offsetHeight - 12 : event.y + 20}px`;
}
function tipLines(view, i, node) {
  const lines = [];
  const segment = view.isEngine(i) ? data.segments.find((s) => s.name === node.name) : null;
  if (segment) lines.push(`${plural(segment.nodes, "node")}: ${Object.entries(segment.ops).sort((a, b) => b[1] - a[1]).slice(0, 5).map(([o, n]) => `${o} ${n}`).join(", ")}`);
  if (node.status) lines.push(node.segment && node.status === "converted" ? `${node.status}: ${node.segment}` : node.status);
  if (node.reason) lines.push(node.reason);
  if (view.kind === "layers" && node.origin.length) lines.push(`from ${node.origin.slice(0, 3).join(", ")}${node.origin.length > 3 ? "…" : ""}`);
  return lines;
}

function select(i) {
  state.selected = i;
  state.matches = null;
  state.near = new Set(i < 0 ? [] : [i, ...state.view.inputs[i], ...state.view.readers[i]]);
  if (renderer) renderer.refresh({ skipIndexation: true });
  fillPanel(i);
}

function fillPanel(i) {
  const panel = $("panel");
  panel.hidden = i < 0;
  if (i < 0) return;
  const view = state.view, node = view.at(i), rows = [];
  const row = (name, value) => { if (value && (!Array.isArray(value) || value.length)) rows.push(el("dt", {}, name), el("dd", {}, value)); };
  const links = (list) => el("div", { class: "list" }, list.slice(0, 12).map((k) => el("button", { class: "link mono", on: { click: () => focus(k) } }, view.name[k])), list.length > 12 ? `and ${list.length - 12} more` : null);
  row("op", el("code", {}, node.op));
  if (node.status) row("verdict", el("span", { class: "pill", style: `background:${STATUS[node.status] || GREY}` }, node.status));
  row("reason", node.reason);
  if (node.segment) row("engine", engineName(node.segment));
  row("converter", node.converter && `plugin ${node.converter}`);
  row("device", node.device);
  row("runs", runBy(view, i).map(([v, name]) => el("div", {}, el("button", { class: "link mono", on: { click: () => show(v, []) } }, name))));
  row("type", node.types.map((t) => el("div", {}, el("code", {}, t))));
  if (view.kind !== "before") row("from", node.origin.slice(0, 12).map((n) => el("div", {}, prepare(data.views[0]).index.has(n) ? nodeLink(n) : n)));
  if (view.inputs[i].length) row("reads", links(view.inputs[i]));
  if (view.readers[i].length) row("read by", links(view.readers[i]));
  const history = node.history.length ? [el("b", {}, "Through the passes"), el("ol", {}, node.history.map((h) => el("li", {}, h)))] : [];
  panel.replaceChildren(el("button", { class: "close", title: "Close", on: { click: () => select(-1) } }, "×"), el("h3", { class: "mono" }, node.name), el("dl", {}, rows), ...history);
  panel.scrollTop = 0;
}

/* The functions that a node runs, as views of the same side. */
const runBy = (view, i) => (view.runs[i] || []).map((name) => [data.views.findIndex((v) => v.kind === view.kind && v.function === name), name]).filter(([v]) => v >= 0);

/* Go to a node so that it can be read, and select it. */
function focus(i) {
  select(i);
  if (!renderer) return;
  const place = renderer.getNodeDisplayData(String(i)), camera = renderer.getCamera();
  camera.animate({ x: place.x, y: place.y, ratio: Math.min(wholeRatio(), pixelsAtOne / 20) }, { duration: 450 });
}

function frame(indices) {
  const box = indices.map((i) => renderer.getNodeDisplayData(String(i))).filter(Boolean);
  if (!box.length) return;
  const xs = box.map((b) => b.x), ys = box.map((b) => b.y);
  const width = Math.max(...xs) - Math.min(...xs), height = Math.max(...ys) - Math.min(...ys);
  renderer.getCamera().animate({ x: (Math.max(...xs) + Math.min(...xs)) / 2, y: (Math.max(...ys) + Math.min(...ys)) / 2,
    ratio: Math.min(1, Math.max(width, height) * 1.35 + 0.08) }, { duration: 450 });
}

/* Open a view and point at nodes of it. */
function show(index, names) {
  openView(index);
  $("graph-section").scrollIntoView({ behavior: "smooth", block: "start" });
  const found = names.map((n) => state.view.index.get(n)).filter((i) => i !== undefined);
  if (found.length === 1) return focus(found[0]);
  if (!found.length) return select(-1);
  select(-1);
  state.matches = new Set(found);
  if (renderer) { renderer.refresh({ skipIndexation: true }); frame(found); }
}

function openView(index) {
  const view = prepare(data.views[index]);
  for (const [i, button] of [...$("views").children].entries()) button.setAttribute("aria-selected", String(i === index || (index >= 2 && view.function !== "" && data.views[i].kind === view.kind)));
  $("layers").value = index >= 2 ? String(index) : "";
  $("constants").disabled = !view.small.some((s) => s);
  if (state.view === view) return;
  state.view = view; state.selected = -1; state.matches = null; state.near = new Set();
  $("panel").hidden = true; $("search").value = ""; $("found").hidden = true;
  const edges = view.edges.length / 3;
  $("count").textContent = `${view.title} · ${plural(view.count, "node")}, ${plural(edges, "edge")}`;
  fillLegend();
  if (!renderer) return;
  renderer.setSetting("hideEdgesOnMove", edges > 25000);
  const camera = renderer.getCamera();
  camera.setState({ x: 0.5, y: 0.5, ratio: 1, angle: 0 });
  renderer.setGraph(buildGraph(view));
  renderer.refresh();
  pixelsAtOne = 1 / unitsPerPixel();
  camera.setState({ ratio: wholeRatio() });
}
/* The camera's ratio at which all is seen, with room for boxes at the edges, and small graphs are not blown up. */
const wholeRatio = () => Math.max(1.06, pixelsAtOne / READABLE);

function fillLegend() {
  const view = state.view, counts = new Map();
  const say = (label, colour) => { const had = counts.get(label); counts.set(label, { colour, count: (had ? had.count : 0) + 1 }); };
  for (let i = 0; i < view.count; i++) {
    const op = data.texts[view.op[i]], segment = data.texts[view.segment[i]], status = data.texts[view.status[i]];
    if (state.colour === "op") say(op, colourOf(view, i));
    else if (state.colour === "type") say(view.types[i].length ? data.texts[view.types[i][0]].split("[")[0] : "no result", colourOf(view, i));
    else if (view.kind === "layers") say(op.replace(/^trt\./, ""), colourOf(view, i));
    else if (segment && segmentColour.has(segment)) say(segment, colourOf(view, i));
    else say(status || "made by passes", colourOf(view, i));
  }
  const all = [...counts].sort((a, b) => b[1].count - a[1].count);
  $("legend").replaceChildren(...all.slice(0, 16).map(([label, c]) => el("span", {}, el("i", { class: "dot", style: `background:${c.colour}` }), `${label} ${number(c.count)}`)),
    all.length > 16 ? el("span", {}, `and ${all.length - 16} more`) : "");
}

function recolour() {
  for (const key of Object.keys(styles)) delete styles[key];
  if (renderer && state.view) {
    renderer.getGraph().updateEachNodeAttributes((key, a) => ({ ...a, color: colourOf(state.view, Number(key)) }), { attributes: ["color"] });
    renderer.refresh({ skipIndexation: true });
  }
  if (state.view) fillLegend();
}

// -- controls -------------------------------------------------------------------------------------------------------------

function fillControls() {
  const labels = { before: "Original", after: "Optimised" };
  data.views.slice(0, 2).forEach((view, i) => $("views").append(el("button", { role: "tab", on: { click: () => openView(i) } }, labels[view.kind])));
  if (data.views.length > 2) {
    const groups = [["layers of an engine", (v) => v.kind === "layers"], ["functions of the original graph", (v) => v.function && v.kind === "before"],
      ["functions of the optimised graph", (v) => v.function && v.kind === "after"]];
    const options = (wanted) => data.views.map((v, i) => (i >= 2 && wanted(v) ? el("option", { value: String(i) }, v.title) : null)).filter(Boolean);
    const found = groups.map(([label, wanted]) => [label, options(wanted)]).filter(([, list]) => list.length);
    $("layers").append(el("option", { value: "", disabled: true }, "engines, functions…"), ...found.map(([label, list]) => el("optgroup", { label }, list)));
    $("layers").onchange = () => openView(Number($("layers").value));
  } else $("layers").hidden = true;
  $("colour").onchange = () => { state.colour = $("colour").value; recolour(); };
  $("constants").onchange = () => { state.constants = $("constants").checked; if (renderer) renderer.refresh({ skipIndexation: true }); };
  fillSearch();
  $("theme").onclick = () => setTheme(isDark() ? "light" : "dark");
  for (const section of document.querySelectorAll("section[id$=-section]")) {
    const head = section.querySelector("h2");
    const short = { "advice-section": "Advice", "reasons-section": "Reasons", "boundaries-section": "Boundaries", "details-section": "Precision" }[section.id] || head.textContent;
    $("nav").append(el("a", { href: `#${section.id}` }, short));
  }
}

function fillSearch() {
  const input = $("search"), box = $("found");
  let found = [], at = -1;
  const go = (k) => { box.hidden = true; focus(found[k]); };
  input.addEventListener("input", () => {
    at = -1;
    found = input.value.trim() ? matching(state.view, input.value) : [];
    state.matches = found.length ? new Set(found) : null;
    state.selected = -1;
    if (renderer) renderer.refresh({ skipIndexation: true });
    box.hidden = !input.value.trim();
    const elsewhere = input.value.trim() ? data.views.map((v, index) => [v, index, v !== state.view && (v.function || index < 2) ? matching(v, input.value) : []]).filter(([, , list]) => list.length) : [];
    box.replaceChildren(el("p", {}, found.length ? plural(found.length, "node") : "nothing found"), ...found.slice(0, 60).map((i, k) =>
      el("button", { on: { click: () => go(k) } }, el("i", { class: "dot", style: `background:${colourOf(state.view, i)};margin-top:6px` }), el("span", {}, el("div", { class: "n mono" }, state.view.name[i]), el("div", { class: "o" }, `${data.texts[state.view.op[i]]}  ${data.texts[state.view.reason[i]] || data.texts[state.view.segment[i]]}`)))),
      ...elsewhere.slice(0, 12).map(([v, index, list]) =>
      el("button", { class: "elsewhere", on: { click: () => { box.hidden = true; show(index, list.map((i) => v.name[i])); } } }, el("span", {}, `${plural(list.length, "node")} in ${v.function ? v.title : v.title.toLowerCase()}`))));
  });
  input.addEventListener("keydown", (event) => {
    const buttons = [...box.querySelectorAll("button:not(.elsewhere)")];
    if (event.key === "Escape") { input.value = ""; box.hidden = true; state.matches = null; if (renderer) renderer.refresh({ skipIndexation: true }); input.blur(); }
    if (event.key === "Enter" && found.length) { at = (at + 1) % Math.min(found.length, buttons.length); go(at); box.hidden = false; buttons.forEach((b, k) => b.classList.toggle("on", k === at)); }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "/" && document.activeElement.tagName !== "INPUT") { event.preventDefault(); $("graph-section").scrollIntoView(); input.focus(); } });
  document.addEventListener("click", (event) => { if (!event.target.closest(".search")) box.hidden = true; });
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("tfgraphopt-theme", theme); } catch { /* a page opened from a file may have no storage */ }
  recolour();
}
function firstTheme() {
  try { const kept = localStorage.getItem("tfgraphopt-theme"); if (kept) return kept; } catch { /* as above */ }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

async function main() {
  document.documentElement.dataset.theme = firstTheme();
  data = await readData();
  segmentColour = new Map(data.segments.map((s, i) => [s.name, SEGMENTS[i % SEGMENTS.length]]));
  data.views.forEach((view) => prepare(view));
  $("title").textContent = data.title;
  fillSummary(); fillAdvice(); fillEngines(); fillReasons(); fillBoundaries(); fillDetails(); fillPasses(); fillNodes();
  if (data.messages.length) $("notes").append(...data.messages.map((m) => el("li", {}, m))); else $("notes-section").remove();
  $("footer").append(`plugins: ${data.plugins.join(", ")}`, el("br"), "pipeline: ", el("code", {}, data.pipeline), el("br"),
    "drawn by sigma.js 3.0.3 and graphology 0.26.0 (MIT), which are part of this page");
  startGraph();
  fillControls();
  openView(0);
  window.tfgraphopt = { data, state, show, focus, select, renderer, openView };
  document.body.dataset.ready = "yes";
}
main().catch((error) => { document.body.dataset.failed = String(error && error.stack ? error.stack : error); throw error; });
