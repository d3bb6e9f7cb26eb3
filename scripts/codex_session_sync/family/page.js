"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const ROW = 34, PAD = 24, SPARE = 12;
  const NEAREST = ["branch", "fork", "spawn", "stands_for"];
  const HOW = { branch: "branch", fork: "fork", spawn: "subagent", stands_for: "copy" };
  const DID = {
    imported: "imported", fast_forwarded: "continued", branched: "branched",
    adopted: "adopted", remapped: "remapped", undone: "rolled back",
  };

  const sessions = new Map(), transactions = new Map(), packages = new Map();
  const kinds = { session: sessions, transaction: transactions, package: packages };
  for (const node of data.nodes) kinds[node.kind].set(node.id, node);
  const of = (kind) => data.edges.filter((edge) => edge.kind === kind);
  const packageOf = new Map(of("applied").map((e) => [e.target, packages.get(e.source)]));
  const undoneBy = new Map(of("rolls_back").map((e) => [e.target, e.source]));
  const marks = new Map([...sessions.keys()].map((id) => [id, []]));
  for (const edge of of("wrote")) {
    const done = transactions.get(edge.source);
    if (marks.has(edge.target)) marks.get(edge.target).push({ done, result: edge.result });
  }
  for (const list of marks.values()) list.sort((a, b) => (a.done.id < b.done.id ? -1 : 1));

  const parent = new Map();
  for (const kind of NEAREST) {
    for (const edge of of(kind)) {
      if (edge.source === edge.target || parent.has(edge.target)) continue;
      let above = edge.source;
      while (above && above !== edge.target) above = parent.get(above)?.source;
      if (!above) parent.set(edge.target, edge);
    }
  }
  const children = new Map();
  for (const edge of parent.values()) {
    if (!children.has(edge.source)) children.set(edge.source, []);
    children.get(edge.source).push(edge.target);
  }

  const time = (text) => (text ? Date.parse(text) : NaN);
  const span = (session) => {
    const moments = [time(session.created_at), time(session.updated_at)];
    for (const { done } of marks.get(session.id)) moments.push(time(done.created_at));
    const known = moments.filter((moment) => !Number.isNaN(moment));
    const begun = time(session.created_at), last = time(session.updated_at);
    const first = Number.isNaN(begun) ? Math.min(...known) : begun;
    return { first, last: Math.max(first, Number.isNaN(last) ? first : last), known: known.length > 0 };
  };
  const spans = new Map([...sessions.values()].map((session) => [session.id, span(session)]));
  const begun = (id) => (spans.get(id).known ? spans.get(id).first : Infinity);
  const earlier = (a, b) => begun(a) - begun(b) || (a < b ? -1 : 1);

  const title = (session) => session.title || session.name || `${session.id.slice(0, 8)}…${session.id.slice(-6)}`;
  const folder = (session) => (session.cwd || "").replace(/\\/g, "/").replace(/\/+$/, "").split("/").pop();
  const day = (moment) => (Number.isNaN(moment) || !Number.isFinite(moment) ? "" : new Date(moment).toISOString().slice(0, 16).replace("T", " "));

  let rows = [], chosen = null, position = () => 0, width = 600, ticks = [];

  function order() {
    const roots = [...sessions.keys()].filter((id) => !parent.has(id)).sort(earlier);
    const found = [], waiting = roots.reverse().map((id) => ({ id, depth: 0 }));
    while (waiting.length) {
      const { id, depth } = waiting.pop();
      found.push({ id, depth });
      const below = (children.get(id) || []).slice().sort(earlier).reverse();
      for (const child of below) waiting.push({ id: child, depth: depth + 1 });
    }
    return found;
  }
  const ordered = order();
  const alone = (id) => !parent.has(id) && !children.has(id) && !marks.get(id).length;

  function fits(session, words) {
    if (session.archived && !by("archived").checked) return false;
    if (!session.here && !by("away").checked) return false;
    if (alone(session.id) && !by("alone").checked && !words) return false;
    const text = [session.title, session.name, session.id, session.cwd].join(" ").toLowerCase();
    return words.split(/\s+/).every((word) => text.includes(word));
  }

  function select() {
    const words = by("search").value.trim().toLowerCase();
    rows = ordered.filter(({ id }) => fits(sessions.get(id), words));
    by("nothing").hidden = rows.length > 0;
    scale();
    draw();
  }

  function scale() {
    const moments = new Set();
    for (const { id } of rows) {
      const { first, last, known } = spans.get(id);
      if (known) moments.add(first).add(last);
      for (const { done } of marks.get(id)) moments.add(time(done.created_at));
    }
    const known = [...moments].sort((a, b) => a - b);
    const label = parseFloat(getComputedStyle(by("axis")).marginLeft) || 260;
    width = Math.max(240, by("scroller").clientWidth - label - 2 * PAD - SPARE);
    const start = known[0] ?? 0, end = known[known.length - 1] ?? 1;
    if (by("scale").value === "even") {
      const rank = new Map(known.map((moment, number) => [moment, number]));
      const most = Math.max(1, known.length - 1);
      position = (moment) => PAD + (width * (rank.get(moment) ?? 0)) / most;
    } else {
      position = (moment) => PAD + (width * (moment - start)) / Math.max(1, end - start);
    }
    const axis = by("axis");
    axis.replaceChildren();
    ticks = [];
    let free = -Infinity;
    for (const moment of known) {
      const place = position(moment);
      const middle = Math.max(58, place);
      if (middle - free < 124 || middle > width + 2 * PAD - 40) continue;
      free = middle;
      ticks.push(place);
      const mark = document.createElement("span");
      mark.textContent = day(moment);
      mark.style.left = `${middle}px`;
      axis.append(mark);
    }
  }

  function shape(name, attributes, hint) {
    const found = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    if (hint) found.append(Object.assign(document.createElementNS(SVG, "title"), { textContent: hint }));
    return found;
  }

  function draw() {
    const box = by("rows"), scroller = by("scroller");
    box.style.height = `${rows.length * ROW}px`;
    const from = Math.max(0, Math.floor(scroller.scrollTop / ROW) - SPARE);
    const to = Math.min(rows.length, Math.ceil((scroller.scrollTop + scroller.clientHeight) / ROW) + SPARE);
    const svg = shape("svg", { width: width + 2 * PAD, height: rows.length * ROW });
    const place = new Map(rows.map(({ id }, number) => [id, number]));
    const middle = (number) => number * ROW + ROW / 2;
    const made = [];
    for (const x of ticks) svg.append(shape("line", { class: "tick", x1: x, x2: x, y1: from * ROW, y2: to * ROW }));
    for (let number = from; number < to; number += 1) made.push(row(rows[number], number));
    for (const [id, edge] of parent) {
      const below = place.get(id), above = place.get(edge.source);
      if (below === undefined || above === undefined || Math.max(above, below) < from || Math.min(above, below) > to) continue;
      if (!spans.get(id).known) continue;
      const x = position(spans.get(id).first), y = middle(below), top = middle(above);
      svg.append(shape("path", { class: `edge ${edge.kind}`, d: `M ${x - 14} ${top} C ${x - 14} ${y}, ${x - 14} ${y}, ${x} ${y}` }));
    }
    for (let number = from; number < to; number += 1) {
      const session = sessions.get(rows[number].id), { first, last, known } = spans.get(session.id);
      const y = middle(number);
      const done = marks.get(session.id);
      if (known && done.length) {
        const end = position(time(done[done.length - 1].done.created_at));
        svg.append(shape("line", { class: "stem", x1: position(last), x2: end, y1: y, y2: y }));
      }
      if (known) {
        const style = `line${session.here ? "" : " gone"}${session.archived ? " old" : ""}`;
        svg.append(shape("line", { class: style, x1: position(first), x2: Math.max(position(last), position(first) + 1), y1: y, y2: y }));
      }
      for (const { done: one, result } of done) {
        const moment = time(one.created_at), hint = `${DID[result] || result} ${day(moment)}`;
        svg.append(shape("circle", { class: `mark ${result}`, cx: position(moment), cy: y, r: 5.5 }, hint));
      }
    }
    const focused = document.activeElement?.dataset?.id;
    box.replaceChildren(svg, ...made);
    if (focused) box.querySelector(`button[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function row({ id, depth }, number) {
    const session = sessions.get(id), edge = parent.get(id);
    const line = document.createElement("div");
    line.className = `row${session.here ? "" : " gone"}${id === chosen ? " chosen" : ""}`;
    line.style.top = `${number * ROW}px`;
    line.setAttribute("role", "listitem");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = id;
    button.setAttribute("aria-pressed", String(id === chosen));
    const name = document.createElement("span");
    name.className = "name";
    name.style.paddingLeft = `${12 + Math.min(depth, 8) * 16}px`;
    if (edge) name.append(Object.assign(document.createElement("span"), { className: "how", textContent: HOW[edge.kind] }));
    name.append(title(session));
    name.title = title(session);
    button.append(name);
    button.addEventListener("click", () => choose(id));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || !rows[number + step]) return;
      event.preventDefault();
      reveal(number + step);
      by("rows").querySelector(`button[data-id="${CSS.escape(rows[number + step].id)}"]`)?.focus({ preventScroll: true });
    });
    line.append(button);
    return line;
  }

  function reveal(number) {
    const scroller = by("scroller"), top = number * ROW;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + ROW > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + ROW - scroller.clientHeight;
    draw();
  }

  function element(name, text, className) {
    return Object.assign(document.createElement(name), { textContent: text, className: className || "" });
  }

  function link(id) {
    const session = sessions.get(id);
    const found = element("a", session ? title(session) : id);
    found.href = "#" + encodeURIComponent(id);
    found.addEventListener("click", (event) => { event.preventDefault(); choose(id, true); });
    return found;
  }

  function list(heading, items) {
    if (!items.length) return [];
    const found = document.createElement("ul");
    for (const parts of items) {
      const item = document.createElement("li");
      item.append(...parts);
      found.append(item);
    }
    return [element("h3", heading), found];
  }

  function choose(id, jump) {
    const session = sessions.get(id);
    if (!session) return;
    chosen = id;
    const box = by("details"), facts = document.createElement("dl");
    const fact = (name, value, code) => {
      if (value === null || value === undefined || value === "") return;
      const shown = document.createElement("dd");
      shown.append(code ? element("code", value) : String(value));
      facts.append(element("dt", name), shown);
    };
    fact("id", session.id, true);
    fact("folder", session.cwd, true);
    fact("begun", day(time(session.created_at)));
    fact("last active", day(time(session.updated_at)));
    fact("turns", session.turns);
    fact("entries", session.entries);
    fact("made by", [session.originator, session.cli_version].filter(Boolean).join(" "));
    const badges = document.createElement("p");
    for (const [is, text] of [[session.archived, "archived"], [!session.here, "not in this home"], [session.name, "named"]]) {
      if (is) badges.append(element("span", text, "badge"));
    }
    const up = data.edges.filter((e) => HOW[e.kind] && e.target === id && e.source !== id);
    const down = data.edges.filter((e) => HOW[e.kind] && e.source === id && e.target !== id);
    const done = marks.get(id).map(({ done: one, result }) => {
      const from = packageOf.get(one.id), undone = undoneBy.get(one.id);
      const dot = element("span", "", `dot ${result}`);
      const words = `${day(time(one.created_at))} ${DID[result] || result}${from ? ` from ${from.name}` : ""}${undone ? " (rolled back since)" : ""}`;
      return [dot, words, document.createElement("br"), element("code", one.id)];
    });
    box.replaceChildren(
      element("h2", title(session)), badges, facts,
      ...list("Comes from", up.map((e) => [`${HOW[e.kind]} of `, link(e.source)])),
      ...list("Went on as", down.map((e) => [`${HOW[e.kind]}: `, link(e.target)])),
      ...list("What was done to it", done),
    );
    const number = rows.findIndex((one) => one.id === id);
    if (jump && number < 0) {
      by("search").value = "";
      for (const name of ["archived", "away", "alone"]) by(name).checked = true;
      select();
      reveal(rows.findIndex((one) => one.id === id));
    } else if (jump) reveal(number);
    else draw();
  }

  const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  by("summary").textContent = [
    counted([...sessions.values()].filter((s) => s.here).length, "session"),
    counted(transactions.size, "transaction"),
    counted(packages.size, "package"),
    `as of ${day(time(data.made_at))} UTC`,
  ].join(" · ");
  for (const id of ["archived", "away", "alone", "scale"]) by(id).addEventListener("change", select);
  by("search").addEventListener("input", select);
  by("scroller").addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  window.addEventListener("resize", () => { scale(); draw(); });
  by("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  });
  if (![...sessions.keys()].some((id) => !alone(id))) by("alone").checked = true;
  select();
  const asked = decodeURIComponent(location.hash.slice(1));
  if (sessions.has(asked)) choose(asked, true);
})();
