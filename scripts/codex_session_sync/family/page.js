"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const ROW = 34, PAD = 20, SPARE = 12, STEP = 84, INDENT = 16;
  const NEAREST = ["branch", "fork", "spawn", "stands_for"];
  const HOW = { branch: "branch", fork: "fork", spawn: "subagent", stands_for: "copy" };
  const DID = {
    imported: "imported", fast_forwarded: "continued", branched: "branched",
    adopted: "adopted", remapped: "remapped", undone: "rolled back",
  };
  // A form for each, so that nothing is told by its colour alone; drawn around 0,0.
  const FORM = {
    imported: "M 0 -5.5 A 5.5 5.5 0 1 1 0 5.5 A 5.5 5.5 0 1 1 0 -5.5 Z",
    fast_forwarded: "M -4.5 -6 L 6.5 0 L -4.5 6 Z",
    branched: "M 0 -7 L 7 0 L 0 7 L -7 0 Z",
    undone: "M -6 -3.5 L -3.5 -6 L 0 -2.5 L 3.5 -6 L 6 -3.5 L 2.5 0 L 6 3.5 L 3.5 6 L 0 2.5 L -3.5 6 L -6 3.5 L -2.5 0 Z",
    adopted: "M -5 -5 H 5 V 5 H -5 Z",
  };
  const form = (result) => FORM[result] || FORM.adopted;

  const sessions = new Map(), transactions = new Map(), packages = new Map();
  const kinds = { session: sessions, transaction: transactions, package: packages };
  for (const node of data.nodes) kinds[node.kind].set(node.id, node);
  const of = (kind) => data.edges.filter((edge) => edge.kind === kind);
  const packageOf = new Map(of("applied").map((e) => [e.target, packages.get(e.source)]));
  const undoing = of("rolls_back");
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

  let rows = [], chosen = null, current = null, position = () => 0, width = 600, ticks = [], flags = [];

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
    const moments = new Set(), done = new Map();
    for (const { id } of rows) {
      const { first, last, known } = spans.get(id);
      if (known) moments.add(first).add(last);
      for (const { done: one } of marks.get(id)) {
        moments.add(time(one.created_at));
        done.set(time(one.created_at), one);
      }
    }
    const known = [...moments].sort((a, b) => a - b);
    const label = parseFloat(getComputedStyle(by("axis")).marginLeft) || 260;
    width = Math.max(130, by("scroller").clientWidth - label - 2 * PAD);
    const start = known[0] ?? 0, end = known[known.length - 1] ?? 1;
    if (by("scale").value === "even") position = steps(known, done);
    else position = (moment) => PAD + (width * (moment - start)) / Math.max(1, end - start);
    flags = known.filter((moment) => done.has(moment)).map((moment) => ({ place: position(moment), done: done.get(moment) }));
    axis(known.filter((moment) => !done.has(moment)));
  }

  // Steps of one width, but what was done to the sessions gets room to be told apart.
  function steps(known, done) {
    const wide = known.slice(1).filter((moment) => done.has(moment)).length;
    const narrow = Math.max(0, known.length - 1 - wide);
    const even = width / Math.max(1, known.length - 1);
    const step = wide ? Math.max(even, Math.min(STEP, (width * 0.6) / wide)) : even;
    const rest = narrow ? (width - wide * step) / narrow : 0;
    const places = new Map();
    let place = PAD;
    known.forEach((moment, number) => {
      if (number) place += done.has(moment) && narrow ? step : narrow ? rest : even;
      places.set(moment, place);
    });
    return (moment) => places.get(moment) ?? PAD;
  }

  function axis(moments) {
    const box = by("axis"), whole = width + 2 * PAD;
    box.replaceChildren();
    ticks = [];
    const taken = [];
    const write = (text, place, half, className, hint) => {
      const middle = Math.min(Math.max(half, place), whole - half);
      if (taken.some(([from, to]) => middle - half < to && middle + half > from)) return false;
      taken.push([middle - half, middle + half]);
      const mark = element("span", text, className);
      mark.title = hint;
      mark.style.left = `${middle}px`;
      mark.style.maxWidth = `${2 * half}px`;
      box.append(mark);
      return true;
    };
    flags.forEach(({ place, done }, number) => {
      const from = packageOf.get(done.id), next = flags[number + 1];
      const text = from ? from.name : done.what;
      const half = Math.min(text.length * 3.6 + 4, next ? Math.max(24, (next.place - place) / 2) : 48);
      write(text, place, half, "flag", `${done.what} ${from ? `${from.name} ` : ""}${day(time(done.created_at))}`);
    });
    let before = "";
    for (const moment of moments) {
      const text = day(moment), same = text.slice(0, 10) === before;
      if (write(same ? text.slice(11) : text, position(moment), same ? 24 : 58, "", text)) {
        before = text.slice(0, 10);
        ticks.push(position(moment));
      }
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
    const tree = shape("svg", { class: "tree", width: 160, height: rows.length * ROW });
    const place = new Map(rows.map(({ id }, number) => [id, number]));
    const middle = (number) => number * ROW + ROW / 2;
    const made = [];
    for (const x of ticks) svg.append(shape("line", { class: "tick", x1: x, x2: x, y1: from * ROW, y2: to * ROW }));
    for (const { place: x } of flags) svg.append(shape("line", { class: "tick done", x1: x, x2: x, y1: from * ROW, y2: to * ROW }));
    for (let number = from; number < to; number += 1) made.push(row(rows[number], number));
    for (const [id, edge] of parent) {
      const below = place.get(id), above = place.get(edge.source);
      if (below === undefined || above === undefined || Math.max(above, below) < from || Math.min(above, below) > to) continue;
      const { depth } = rows[above], x = Math.min(depth, 8) * INDENT + 18, top = middle(above) + 11, y = middle(below);
      tree.append(shape("path", { class: `edge ${edge.kind}`, d: `M ${x} ${top} V ${y - 6} Q ${x} ${y} ${x + 6} ${y} H ${x + 10}` }));
      const parted = spans.get(id), whence = spans.get(edge.source);
      if (parted.known && whence.known && whence.first <= parted.first && parted.first <= whence.last) {
        const at = position(parted.first);
        svg.append(shape("line", { class: `edge ${edge.kind}`, x1: at, x2: at, y1: middle(above), y2: y }));
      }
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
        svg.append(shape("path", { class: `mark ${result}`, d: form(result), transform: `translate(${position(moment)} ${y})` }, hint));
      }
    }
    const focused = document.activeElement?.dataset?.id;
    box.replaceChildren(svg, tree, ...made);
    if (focused) box.querySelector(`button[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function row({ id, depth }, number) {
    const session = sessions.get(id), edge = parent.get(id);
    const line = document.createElement("div");
    line.className = `row${session.here ? "" : " gone"}${id === chosen ? " chosen" : ""}${depth ? "" : " root"}`;
    line.style.top = `${number * ROW}px`;
    line.setAttribute("role", "listitem");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = id;
    button.setAttribute("aria-pressed", String(id === chosen));
    // One stop of the tab key for all rows; the arrows go on from there.
    button.tabIndex = id === (rows.some((one) => one.id === current) ? current : rows[0].id) ? 0 : -1;
    const name = document.createElement("span");
    name.className = "name";
    name.style.paddingLeft = `${12 + Math.min(depth, 8) * INDENT + (depth ? 6 : 0)}px`;
    if (edge) name.append(Object.assign(document.createElement("span"), { className: "how", textContent: HOW[edge.kind] }));
    name.append(title(session));
    name.title = title(session);
    button.append(name);
    button.addEventListener("click", () => choose(id));
    button.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.floor(by("scroller").clientHeight / ROW) - 1);
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
      if (!(event.key in steps)) return;
      event.preventDefault();
      const next = Math.min(rows.length - 1, Math.max(0, number + steps[event.key]));
      const wanted = rows[next].id;
      current = wanted;
      reveal(next);
      by("rows").querySelector(`button[data-id="${CSS.escape(wanted)}"]`)?.focus({ preventScroll: true });
    });
    button.addEventListener("focus", () => { current = id; });
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

  function sign(result) {
    const found = shape("svg", { class: "sign", width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
    found.append(shape("path", { class: `mark ${result}`, d: form(result) }));
    return found;
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
    chosen = current = id;
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
      const from = packageOf.get(one.id);
      const undone = undoing.some((e) => e.target === one.id
        && marks.get(id).some((mark) => mark.done.id === e.source && mark.result === "undone"));
      const dot = sign(result);
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
  document.addEventListener("keydown", (event) => {
    const writing = document.activeElement === by("search");
    if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      by("search").focus();
    } else if (event.key === "Escape" && writing) {
      by("search").value = "";
      select();
    }
  });
  for (const place of document.querySelectorAll("[data-sign]")) place.replaceWith(sign(place.dataset.sign));
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
