// The live page: asks for the server's state twice a second, and shows it. What comes from the server is text, never markup.

const EVERY = 500; // milliseconds between questions
const LATE = 10_000, MINUTE = 60_000, SHOWN = 120_000; // milliseconds that rates, shares and the chart look back
const WITHIN = 5_000, ANSWER_WITHIN = 65_000; // milliseconds that the server has to tell its state, and to answer
const STAGES = new Map([
  ["stage0", "fabric, stage 0"], ["stage1", "fabric, stage 1"], ["stage2", "fabric, stage 2"], ["stage3", "fabric, stage 3"],
  ["datacenter", "data centre"],
]);
const COLOURS = new Map([...STAGES.keys()].map((stage, place) => [stage, place]));
const MOST = 12; // models that the chart tells apart; of the others it has the sum
const LINES = 100; // of the table of models
const OTHERS = "\0others"; // no model is called so
const named = (key) => STAGES.get(key) ?? (key === OTHERS ? "others" : key);

const at = (id) => document.getElementById(id);
const history = []; // states of the last two minutes, the oldest first, without pictures
const pictures = new Map(); // object URLs by "of/number"; null while on the way
const wanted = []; // of these that are on the way, what fetches them, one after the other
const known = new Map(); // what to know of models that are ready, to ask them, by name
let token = sessionStorage.getItem("token") ?? "";
let looking; // who asks for the state now

// ---------------------------------------------------------------------------------------------------------- asking

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}, within = ANSWER_WITHIN) {
  const headers = { ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(within) });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, said.error ?? `the server says ${answer.status}`);
}

async function look() {
  const own = (looking = Symbol()); // whoever begins to look later goes on alone
  try {
    const state = await (await ask("/live/state", {}, WITHIN)).json();
    if (looking !== own) return;
    at("entry").hidden = true;
    take(state);
  } catch (error) {
    if (looking !== own) return;
    if (error instanceof Refusal && error.status === 401) {
      enter(token ? error.message : "");
      return; // until a token is given
    }
    const why = error instanceof Refusal ? error.message : "the server cannot be reached";
    const last = history.at(-1);
    status("trouble", `${why}: trying again${last ? `. Below: as of ${new Date(1e3 * last.at).toLocaleTimeString()}` : ""}`);
    document.body.classList.toggle("stale", Boolean(last));
  }
  setTimeout(() => looking === own && look(), document.hidden ? 4 * EVERY : EVERY);
}

function enter(refused) {
  at("refused").textContent = refused;
  at("entry").hidden = false;
  status("trouble", "a token is needed");
}

at("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  if (/[^!-~]/.test(token)) return enter("That is no token: copy it whole, and nothing else."); // nor could it be sent
  sessionStorage.setItem("token", token);
  look();
});

// --------------------------------------------------------------------------------------------------- what is counted

// Values of a measure whose labels are those of `match`: [labels, value].
function matching(state, name, match = {}) {
  const measure = state.measures.get(name);
  if (!measure) return [];
  const places = Object.entries(match).map(([label, value]) => [measure.labels.indexOf(label), value]);
  return measure.values.filter(([labels]) => places.every(([place, value]) => labels[place] === value));
}

// The same, with labels by name.
function rows(state, name, match) {
  return matching(state, name, match).map(([labels, value]) =>
    [Object.fromEntries(state.measures.get(name).labels.map((label, place) => [label, labels[place]])), value]);
}

// By the value of one label, the sum of a counter.
function series(state, label) {
  const sums = new Map();
  for (const [labels, value] of rows(state, state.counted)) sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
  return sums;
}

const has = (state, name) => rows(state, name).length > 0;
const total = (state, name, match) => matching(state, name, match).reduce((sum, [, value]) => sum + value, 0);

// By how much a counter rose in the last so many milliseconds, and in how many seconds.
function rise(name, match, within) {
  const now = history.at(-1), then = history.find((one) => now.clock - one.clock <= within);
  const more = total(now, name, match) - total(then, name, match);
  return [Math.max(0, more), (now.clock - then.clock) / 1e3]; // what is loaded anew begins at 0
}

function rate(name, match) {
  const [more, seconds] = rise(name, match, LATE);
  return seconds ? more / seconds : 0;
}

// The share of one counter's rise in another's within a minute; null where the other did not rise.
function share(name, match, of, ofMatch) {
  const [all] = rise(of, ofMatch, MINUTE);
  return all ? rise(name, match, MINUTE)[0] / all : null;
}

// Of values spread over buckets, how many came within a minute, and what shares of them lay within.
function spread(name, match) {
  const now = history.at(-1), then = history.find((one) => now.clock - one.clock <= MINUTE);
  const sum = (state) => rows(state, name, match).reduce((counts, [, value]) => value.counts.map((one, place) => one + (counts[place] ?? 0)), []);
  const before = sum(then), counts = sum(now).map((one, place) => Math.max(0, one - (before[place] ?? 0)));
  const bounds = rows(now, name, match)[0][1].bounds, count = counts.reduce((a, b) => a + b, 0);
  const within = (quantile) => {
    let left = quantile * count;
    for (let place = 0; place < bounds.length; place++) {
      if (left <= counts[place]) {
        const low = place ? bounds[place - 1] : 0;
        return low + (bounds[place] - low) * (counts[place] ? left / counts[place] : 0);
      }
      left -= counts[place];
    }
    return Infinity; // beyond all buckets
  };
  return { count, within, most: bounds.at(-1) };
}

// ------------------------------------------------------------------------------------------------------------ words

const few = (value, digits = 3) => Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
const whole = (value) => Math.round(value).toLocaleString("en");
const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(value > 0 && value < 0.0995 ? 2 : 1)} %`);
const mebibytes = (value) => `${whole(value / 2 ** 20)} MiB`;

function seconds(value, most) {
  if (value === Infinity) return `over ${seconds(most)}`;
  if (value < 1e-3) return `${few(value * 1e6, 2)} µs`;
  return value < 1 ? `${few(value * 1e3, 2)} ms` : `${few(value, 2)} s`;
}

function status(state, text) {
  at("status").dataset.state = state;
  if (at("status").textContent !== text) at("status").textContent = text;
}

function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

const colour = (place) => `var(--c${place % 6})`;

// ------------------------------------------------------------------------------------------------------- showing it

function take(told) {
  const state = { ...told, clock: performance.now(), measures: new Map(told.measures.map((one) => [one.name, one])), recent: null };
  state.edge = state.measures.has("answers");
  state.counted = state.edge ? "answers" : "pictures";
  const before = history.at(-1);
  if (before && (before.name !== state.name || total(state, state.counted) < total(before, before.counted))) history.length = 0; // it began anew
  if (history.length) history.at(-1).models = null; // nobody looks back at these, and they may be many
  history.push(state);
  while (state.clock - history[0].clock > SHOWN) history.shift();
  const fabrics = new Set(state.models.map((one) => one.parameters?.fabric).filter(Boolean));
  at("server").textContent = `${state.edge ? "edge" : "data centre"}, version ${state.version}${fabrics.size ? `, fabric ${[...fabrics].join(", ")}` : ""}`;
  document.title = `EdgeSight, ${state.edge ? "edge" : "data centre"}`;
  document.body.classList.remove("stale");
  status(state.ready ? "ready" : "trouble", state.ready ? "ready" : "not ready");
  offer(state);
  figures(state);
  flow(state);
  promises(state);
  times(state);
  models(state);
  recent(told.recent);
}

function figures(state) {
  const shown = [];
  const figure = (name, text, bad = false) => shown.push([name, text, bad]);
  if (state.edge) {
    figure("answers a second", few(rate("answers")));
    const away = share("answers", { stage: "datacenter" }, "answers");
    figure("answered on the fabric", percent(away === null ? null : 1 - away));
    const degraded = share("answers_degraded", {}, "answers");
    figure("degraded", percent(degraded), degraded > 0.01);
    figure("of strange pictures", percent(share("answers_strange", {}, "answers")));
    figure("wait for the fabric", whole(total(state, "waiting")));
    if (total(state, "answers_failed")) figure("without an answer", whole(total(state, "answers_failed")), true);
  } else {
    figure("rows a second", few(rate("pictures")));
    const [runs] = rise("batches", {}, MINUTE), [together] = rise("pictures", {}, MINUTE);
    if (runs) figure("rows a run", few(together / runs));
    if (has(state, "waiting")) figure("requests wait", whole(total(state, "waiting")));
    if (has(state, "link_edges")) figure("edges", whole(total(state, "link_edges")));
    const strips = ["came", "repeated", "repaired", "concealed"].map((what) => rise("link_strips", { what }, MINUTE)[0]);
    const [came, , repaired, concealed] = strips;
    if (came) {
      figure("strips repaired", percent(repaired / (came + repaired + concealed)));
      figure("strips lost", percent(concealed / (came + repaired + concealed)));
    }
    figure("memory of models", mebibytes(total(state, "memory_bytes")));
  }
  if (has(state, "link_connected")) {
    const away = rows(state, "link_connected").filter(([, value]) => !value).length;
    figure("data centre", away ? "offline" : "online", away > 0);
    for (const [, value] of rows(state, "link_round_trip_seconds").slice(0, 1)) figure("round trip", seconds(value));
    for (const [, value] of rows(state, "link_bytes_per_second").slice(0, 1)) figure("the link takes", `${few((8 * value) / 1e6)} Mbit/s`);
    figure("packets lost", percent(Math.max(0, ...rows(state, "link_loss_ratio").map(([, value]) => value))));
  }
  for (const [labels, value] of rows(state, "power_watts")) figure(`power, ${labels.obtained}`, `${few(value)} W`);
  if (has(state, "energy_joules")) {
    const each = share("energy_joules", {}, "answers");
    if (each !== null) figure("energy an answer", each < 1e-3 ? `${few(each * 1e6)} µJ` : `${few(each * 1e3)} mJ`);
  }
  if (total(state, "swaps")) figure("calibrations taken over", whole(total(state, "swaps")));
  const alarms = total(state, "audit_alarm");
  if (alarms) figure("targets in doubt", whole(alarms), true);
  at("figures").replaceChildren(...shown.map(([name, text, bad]) => {
    const one = element("div", "", bad ? "figure bad" : "figure");
    one.append(element("b", text), element("span", name));
    return one;
  }));
  at("figures").hidden = false;
}

function flow(state) {
  const label = state.edge ? "stage" : "model";
  const sums = series(state, label);
  const keys = [...sums.keys()].sort((a, b) => (COLOURS.get(a) ?? 9) - (COLOURS.get(b) ?? 9));
  if (keys.length > MOST) {
    keys.sort((a, b) => sums.get(b) - sums.get(a));
    keys.splice(MOST, Infinity, OTHERS);
  }
  const of = (one) => {
    const found = series(one, label), counts = keys.map((key) => found.get(key) ?? 0);
    if (keys.at(-1) === OTHERS) counts[MOST] = total(one, one.counted) - counts.reduce((a, b) => a + b, 0);
    return counts;
  };
  at("flow").hidden = keys.length === 0;
  if (!keys.length) return;
  at("flow").querySelector("h2").textContent = state.edge ? "Who answers" : "What is asked";
  const every = 4; // states of one point: two seconds
  const points = [];
  for (let place = history.length - 1; place >= every; place -= every) {
    const to = history[place], from = history[place - every], took = (to.clock - from.clock) / 1e3;
    const before = of(from), counts = of(to).map((one, place) => Math.max(0, one - before[place]) / took);
    points.unshift({ x: 600 * (1 - (state.clock - to.clock) / SHOWN), counts });
  }
  const highest = Math.max(0, ...points.map((one) => one.counts.reduce((a, b) => a + b, 0))), peak = highest || 1;
  const floor = points.map(() => 0);
  at("chart").replaceChildren(...keys.map((key, series) => {
    const low = points.map((one, place) => [one.x, 120 - (115 * floor[place]) / peak]);
    points.forEach((one, place) => (floor[place] += one.counts[series]));
    const high = points.map((one, place) => [one.x, 120 - (115 * floor[place]) / peak]);
    const area = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    area.setAttribute("points", [...high, ...low.reverse()].map((one) => one.map((value) => value.toFixed(1)).join(",")).join(" "));
    area.style.fill = colour(COLOURS.get(key) ?? series);
    return area;
  }));
  at("peak").textContent = highest ? `${few(highest)} a second at most` : "";
  const all = of(state), sum = all.reduce((a, b) => a + b, 0);
  at("legend").replaceChildren(...keys.map((key, series) => {
    const one = element("li"), mark = element("i");
    mark.style.background = colour(COLOURS.get(key) ?? series);
    one.append(mark, element("bdi", named(key)), `: ${whole(all[series])}${sum ? `, ${percent(all[series] / sum)}` : ""}`);
    return one;
  }));
}

function table(id, lines) {
  at(id).querySelector("tbody").replaceChildren(...lines.map((cells) => {
    const line = element("tr");
    line.append(...cells.map((cell) => {
      const one = element("td");
      one.append(cell);
      return one;
    }));
    return line;
  }));
  at(id).hidden = lines.length === 0;
}

function promises(state) {
  const ready = state.edge ? state.models.filter((one) => known.has(one.name)) : [];
  const lines = [];
  for (const { name: application } of ready) {
    const offered = known.get(application).targets;
    for (const target of offered) {
      const match = { application, target }, count = total(state, "answers", match);
      const who = element("div", "", "share");
      for (const stage of count ? STAGES.keys() : []) {
        const part = total(state, "answers", { ...match, stage }) / count;
        if (!part) continue;
        const bar = element("i");
        bar.title = `${named(stage)}: ${percent(part)}`;
        bar.style.width = `${100 * part}%`;
        bar.style.background = colour(COLOURS.get(stage));
        who.append(bar);
      }
      const agreed = total(state, "audits", { ...match, agreed: "yes" });
      const audits = agreed + total(state, "audits", { ...match, agreed: "no" });
      const watched = rows(state, "audit_alarm", match), bound = rows(state, "audit_bound", match);
      const alarm = watched.some(([, value]) => value);
      lines.push([
        `${percent(Number(target))}${ready.length > 1 ? `, ${application}` : ""}`,
        watched.length ? element("span", alarm ? "alarm: see the log" : audits ? "nothing against it" : "no audits yet", alarm ? "bad" : audits ? "good" : "") : "not watched",
        whole(count),
        audits ? `${percent(agreed / audits)} of ${whole(audits)}` : "–",
        bound.length ? percent(bound[0][1]) : "–",
        who,
        percent(count ? total(state, "answers_degraded", match) / count : null),
      ]);
    }
  }
  table("promises", lines);
}

function times(state) {
  const lines = [];
  for (const [name, measure] of state.measures) {
    if (measure.kind !== "histogram" || !name.endsWith("_seconds")) continue;
    const seen = new Set();
    for (const [labels] of rows(state, name)) {
      const { application, ...others } = labels, key = Object.values(others).join(", ");
      if (seen.has(key)) continue;
      seen.add(key);
      const { count, within, most } = spread(name, others);
      const title = [name === "leg_seconds" ? "" : name.replace(/_seconds$/, "").replaceAll("_", " "), key].filter(Boolean).join(", ");
      lines.push([title, whole(count), ...[0.5, 0.95].map((one) => (count ? seconds(within(one), most) : "–"))]);
    }
  }
  table("times", lines);
}

function models(state) {
  const shown = [...state.models].sort((one, other) => (other.state === "READY") - (one.state === "READY")).slice(0, LINES);
  const lines = state.edge ? [] : shown.map(({ name, version, state: now, reason }) => {
    const match = { model: name, version };
    const [runs] = rise("batches", match, MINUTE), [together] = rise("pictures", match, MINUTE);
    const told = element("span", now.toLowerCase() + (reason ? `: ${reason}` : ""), now === "READY" ? "good" : "");
    return [name, version, told, few(rate("pictures", match)),
      whole(total(state, "requests", { ...match, outcome: "success" })), whole(total(state, "requests", { ...match, outcome: "fail" })),
      runs ? few(together / runs) : "–"];
  });
  table("models", lines);
  at("more").textContent = state.models.length > LINES ? `And ${whole(state.models.length - LINES)} more: ask for the index.` : "";
}

// --------------------------------------------------------------------------------------------------- last pictures

function recent(seen) {
  at("withheld").hidden = seen !== null;
  at("recent").hidden = seen !== null && seen.length === 0;
  const keys = new Set((seen ?? []).map(keyOf));
  for (const [key, url] of pictures) {
    if (keys.has(key)) continue;
    if (url) URL.revokeObjectURL(url);
    pictures.delete(key);
  }
  const list = at("recent").querySelector("ol"), there = new Set();
  for (const one of [...list.children]) {
    if (keys.has(one.dataset.key)) there.add(one.dataset.key);
    else one.remove();
  }
  for (const one of seen ?? []) if (!there.has(keyOf(one))) list.prepend(card(one));
}

function card(one) {
  const made = element("li"), key = keyOf(one);
  made.dataset.key = key;
  made.dataset.at = one.at;
  made.style.borderColor = colour(COLOURS.get(one.stage) ?? 5);
  const said = element("b", one.class_name ?? "–");
  const sure = one.confidence === undefined || one.confidence === null ? "" : `${percent(one.confidence)} sure`;
  const who = element("span", named(one.stage) ?? "");
  const notes = [one.degraded ? "degraded" : "", one.guaranteed === false && !one.degraded ? "no promise" : "", one.hedged ? "hedged" : ""];
  const note = element("span", notes.filter(Boolean).join(", ") || (one.asked_by ? `for ${one.asked_by}` : ""), one.degraded || one.guaranteed === false ? "bad" : "");
  made.title = one.reason ?? "";
  made.append(one.shown ? thumbnail(key, one) : element("div", "too large", "none"), said, element("span", sure), who,
    element("span", one.milliseconds === undefined ? "" : seconds(one.milliseconds / 1e3)), note);
  return made;
}

// A server that began anew numbers anew.
function keyOf(one) {
  return `${one.at}/${one.of}/${one.number}`;
}

function thumbnail(key, { of, number }) {
  const image = element("img");
  image.alt = "";
  pictures.set(key, null);
  wanted.push(async () => {
    if (!pictures.has(key)) return; // it is gone by now
    const answer = await ask(`/live/pictures/${encodeURIComponent(of)}/${number}`, {}, WITHIN);
    const content = answer.status === 204 ? null : await answer.blob();
    if (!content || !pictures.has(key)) return;
    image.src = URL.createObjectURL(content);
    pictures.set(key, image.src);
  });
  if (wanted.length === 1) fetchWanted();
  return image;
}

// One at a time: the server has but few connections, and of a browser's some are for its state and for what is asked.
async function fetchWanted() {
  while (wanted.length) {
    await wanted[0]().catch(() => {}); // what can't be reached is told by the next question
    wanted.shift();
  }
}

// ------------------------------------------------------------------------------------------------------ asking by hand

function offer(state) {
  known.clear();
  for (const { name, platform, parameters, outputs } of state.models) {
    if (!parameters) continue; // it is not ready
    const edge = platform === "edgesight";
    const targets = edge ? String(parameters.accuracy_targets).split(", ").filter(Boolean) : [];
    known.set(name, { edge, targets, default: String(parameters.default_accuracy), takes: edge || Boolean(parameters.picture_input), output: outputs[0] });
  }
  const { model } = at("ask").querySelector("form").elements, before = model.value;
  const names = [...known.keys()].filter((name) => known.get(name).takes);
  at("ask").hidden = names.length === 0;
  const offered = JSON.stringify(names.map((name) => [name, known.get(name).targets]));
  if (offered === model.dataset.offered) return;
  model.dataset.offered = offered;
  model.replaceChildren(...names.map((name) => new Option(name)));
  if (names.includes(before)) model.value = before;
  at("which").hidden = names.length < 2;
  chosen();
}

function chosen() {
  const { model, accuracy } = at("ask").querySelector("form").elements, one = known.get(model.value);
  if (!one) return;
  at("promise").hidden = at("within").hidden = !one.edge;
  const before = accuracy.value;
  accuracy.replaceChildren(...one.targets.map((target) => new Option(percent(Number(target)), target)));
  accuracy.value = [before, one.default, one.targets.at(-1)].find((target) => one.targets.includes(target)) ?? "";
}

async function send(file) {
  const { model, accuracy, deadline } = at("ask").querySelector("form").elements, one = known.get(model.value);
  if (!one || !file) return;
  const own = at("own");
  if (own.src) URL.revokeObjectURL(own.src);
  own.src = URL.createObjectURL(file);
  own.hidden = false;
  own.onerror = () => (own.hidden = true); // the server may read what this browser cannot
  answer([element("p", "asking …")]);
  const content = new Uint8Array(await file.arrayBuffer());
  // An element of BYTES: its length in four bytes, the least first, and itself.
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, content.length, true);
  const parameters = one.edge ? { accuracy: Number(accuracy.value), deadline_ms: Number(deadline.value) } : {};
  const outputs = one.edge ? [{ name: "label" }] : [{ name: one.output, parameters: { classification: 3 } }];
  const input = { name: "picture", datatype: "BYTES", shape: [1], parameters: { binary_data_size: 4 + content.length } };
  const head = new TextEncoder().encode(JSON.stringify({ inputs: [input], outputs, parameters }));
  try {
    const begun = performance.now();
    const told = await (await ask(`/v2/models/${encodeURIComponent(model.value)}/infer`, {
      method: "POST",
      headers: { "content-type": "application/octet-stream", "inference-header-content-length": String(head.length) },
      body: new Blob([head, length, content]),
    })).json();
    answer(one.edge ? ofEdge(told.parameters) : ofModel(told, performance.now() - begun));
  } catch (error) {
    answer([element("p", error.message, "bad")]);
  }
}

function ofEdge(said) {
  const lines = [element("b", said.class_name)];
  const who = said.stage === "datacenter" ? "the data centre" : named(said.stage);
  lines.push(element("p", `${percent(said.confidence)} sure, answered by ${who} in ${seconds(said.milliseconds / 1e3)}`));
  if (said.guaranteed) lines.push(element("p", `promised: ${percent(said.accuracy_target)} right, of ${said.guaranteed_for}`, "good"));
  else lines.push(element("p", `no promise: ${said.reason}`, "bad"));
  if (said.guaranteed && said.novelty !== undefined) lines.push(element("p", `of pictures like the calibration's, ${percent(said.novelty)} are as unusual`));
  if (said.warnings) lines.push(element("p", said.warnings));
  return lines;
}

function ofModel(told, milliseconds) {
  const best = told.outputs[0].data.map((text) => text.split(":"));
  const lines = best.map(([value, index, name], place) => element(place ? "p" : "b", `${name ?? `class ${index}`}, score ${few(Number(value))}`));
  return [...lines, element("p", `model ${told.model_name}, version ${told.model_version}, ${seconds(milliseconds / 1e3)} with the way there`)];
}

function answer(lines) {
  at("answer").replaceChildren(...lines);
}

at("ask").querySelector("form").elements.model.addEventListener("change", chosen);
at("ask").querySelector("form").addEventListener("submit", (event) => event.preventDefault());
at("file").addEventListener("change", () => {
  send(at("file").files[0]);
  at("file").value = ""; // the same file may be asked again
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") send(event.dataTransfer.files[0]);
  });
}
// Beside the zone a dropped file would be opened in the page's place.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());

look();
