"use strict";
// Asks for dashboard.json once a second and shows it; rates and quantiles are differences between two answers.
// Text that comes from requests is only ever set as text, never as markup.
(() => {
  const PERIOD = 1000, PATIENCE = 3000, SPAN = 300, WINDOW = 10;
  const DECISIONS = ["known", "found", "created", "owed", "passed", "refused"];
  const STATES = { up: "up", warning: "attention", down: "down", off: "off" };
  const TOKEN = "session-sidecar-token";
  const at = id => document.getElementById(id);
  const samples = [];
  let failedSince = null;

  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // Writes only what differs, so that a screen reader hears changes alone and an opened list stays open.
  function write(node, text) { if (node.textContent !== text) node.textContent = text; }

  const number = (value, digits = 0) =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const time = seconds => new Date(seconds * 1000).toLocaleTimeString();

  // -- figures ---------------------------------------------------------------------------------------------------

  function difference(newer, older, name) { return (newer[name] || 0) - ((older && older[name]) || 0); }

  function byDecision(counts) {
    const sums = {};
    for (const [name, count] of Object.entries(counts)) {
      const plain = name.replace(/^shadow_/, "");
      sums[plain] = (sums[plain] || 0) + count;
    }
    return sums;
  }

  function quantile(share, newer, older) {
    const { bounds, counts } = newer.overhead;
    const spent = counts.map((count, index) => count - older.overhead.counts[index]);
    const total = spent.reduce((sum, count) => sum + count, 0);
    if (!total) return null;
    let left = share * total;
    for (let index = 0; index < spent.length; index++) {
      if (spent[index] >= left && spent[index]) {
        const low = index ? bounds[index - 1] : 0, high = bounds[index] ?? low;
        return 1000 * (low + (high - low) * left / spent[index]);
      }
      left -= spent[index];
    }
    return 1000 * bounds[bounds.length - 1];
  }

  function sample(state) {
    const last = samples[samples.length - 1];
    if (last && (state.started !== last.state.started || state.at <= last.state.at)) samples.length = 0;
    samples.push({ state });
    while (samples.length > SPAN) samples.shift();
  }

  function series() {
    const columns = [[], ...DECISIONS.map(() => []), [], []];
    for (let index = 1; index < samples.length; index++) {
      const newer = samples[index].state, older = samples[index - 1].state;
      const passed = newer.at - older.at;
      const before = samples[Math.max(0, index - WINDOW)].state;
      const counts = byDecision(newer.decisions), earlier = byDecision(older.decisions);
      columns[0].push(newer.at);
      DECISIONS.forEach((name, column) => columns[column + 1].push(difference(counts, earlier, name) / passed));
      columns[7].push(quantile(.5, newer, before));
      columns[8].push(quantile(.99, newer, before));
    }
    return columns;
  }

  // -- charts ----------------------------------------------------------------------------------------------------

  const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const charts = {};

  function chart(id, names) {
    const axis = () => ({ stroke: () => color("quiet"), grid: { stroke: () => color("line"), width: 1 },
                          ticks: { stroke: () => color("line"), width: 1 }, size: 48 });
    const options = {
      width: at(id).clientWidth, height: 180, legend: { show: false }, cursor: { show: false },
      scales: {
        x: { range: (_, __, latest) => { const now = latest || Date.now() / 1000; return [now - 60, now]; } },
        y: { range: (_, __, most) => [0, Math.max(most || 0, 1)] },
      },
      axes: [axis(), axis()],
      series: [{}, ...names.map(name => ({ stroke: () => color(name), width: 2, points: { show: false } }))],
    };
    return new uPlot(options, [[], ...names.map(() => [])], at(id));
  }

  function legend(id, names, values, digits, unit) {
    const list = at(id);
    if (!list.children.length) {
      for (const name of names) {
        const item = element("li"), line = element("i");
        line.style.background = `var(--${name})`;
        item.append(line, element("span", `${name} `), element("b"));
        list.append(item);
      }
    }
    const words = names.map((name, index) =>
      values[index] === null || values[index] === undefined ? "–" : number(values[index], digits));
    words.forEach((word, index) => write(list.children[index].lastChild, word));
    const label = names.map((name, index) => `${name} ${words[index]}`).join(", ");
    at(id.replace("-legend", "")).setAttribute("aria-label", `${label} ${unit}`);
  }

  function drawCharts() {
    charts.rates ||= chart("rates", DECISIONS);
    charts.latency ||= chart("latency", ["p50", "p99"]);
    const columns = series();
    charts.rates.setData(columns.slice(0, 7));
    charts.latency.setData([columns[0], columns[7], columns[8]]);
    const last = columns.map(column => column[column.length - 1]);
    legend("rates-legend", DECISIONS, last.slice(1, 7), 1, "requests per second");
    legend("latency-legend", ["p50", "p99"], last.slice(7), 2, "milliseconds");
  }

  // -- the rest --------------------------------------------------------------------------------------------------

  function rows(list, entries, make, fill) {
    while (list.children.length > entries.length) list.lastChild.remove();
    entries.forEach((entry, index) => {
      if (!list.children[index]) list.append(make(entry));
      fill(list.children[index], entry);
    });
  }

  function showHealth(health) {
    const make = () => {
      const item = element("li");
      item.append(element("span"), element("strong"), element("small", "", { class: "quiet" }));
      return item;
    };
    rows(at("health"), health, make, (item, part) => {
      item.dataset.name = part.name;
      item.dataset.state = part.state;
      [part.name, STATES[part.state], part.detail].forEach((text, index) => write(item.children[index], text));
    });
  }

  function showNow(state) {
    const older = samples[Math.max(0, samples.length - 1 - WINDOW)].state;
    const seconds = state.at - older.at;
    const rate = counts => seconds > 0 ? number(counts / seconds, 1) : "–";
    const all = Object.keys(state.decisions)
      .reduce((sum, name) => sum + difference(state.decisions, older.decisions, name), 0);
    const hits = difference(state.lookups || {}, older.lookups || {}, "hit");
    const lookups = hits + difference(state.lookups || {}, older.lookups || {}, "miss");
    const ever = state.lookups && (state.lookups.hit + state.lookups.miss);
    const p50 = quantile(.5, state, older), p99 = quantile(.99, state, older);
    const share = (part, whole) => whole ? `${number(100 * part / whole, 1)} %` : "–";
    const figures = {
      "requests per second": rate(all),
      "cache hit ratio": share(hits, lookups),
      "cache hit ratio since the start": ever ? share(state.lookups.hit, ever) : "–",
      "latency added, p50": p50 === null ? "–" : `${number(p50, 2)} ms`,
      "latency added, p99": p99 === null ? "–" : `${number(p99, 2)} ms`,
      "known sessions": state.known_sessions === null ? "–" : number(state.known_sessions),
      "requests since the start": number(Object.values(state.decisions).reduce((sum, count) => sum + count, 0)),
    };
    const list = at("now");
    for (const [name, value] of Object.entries(figures)) {
      let shown = list.querySelector(`dd[data-name="${name}"]`);
      if (!shown) list.append(element("dt", name), shown = element("dd", "", { "data-name": name }));
      write(shown, value);
    }
  }

  const COLUMNS = { at: "time", method: "method", path: "path", session_id: "session", user_id: "user",
                    detail: "detail", request_id: "request id" };

  function showProblems(state) {
    at("no-problems").hidden = state.problems.length > 0;
    const box = at("problems");
    const shown = new Map([...box.children].map(article => [article.dataset.kind, article]));
    state.problems.forEach((problem, index) => {
      let article = shown.get(problem.kind);
      if (!article) {
        article = element("article", undefined, { "data-kind": problem.kind });
        const details = element("details"), table = element("table"), head = element("tr");
        for (const title of Object.values(COLUMNS)) head.append(element("th", title, { scope: "col" }));
        table.append(element("caption", `Last of ${problem.kind}`, { class: "quiet" }), element("thead"), element("tbody"));
        table.tHead.append(head);
        const scroll = element("div", undefined,
          { class: "rows", tabindex: "0", role: "region", "aria-label": `Last of ${problem.kind}` });
        scroll.append(table);
        details.append(element("summary", `Show the last of ${problem.kind}`), scroll);
        article.append(element("h3"), element("p"), element("p"), details);
      }
      const last = problem.last[0].at;
      write(article.children[0], `${problem.kind}: ${number(problem.count)}, last at ${time(last)}`);
      write(article.children[1], problem.means);
      write(article.children[2], `What to do: ${problem.do}`);
      if (article.dataset.last !== `${last}/${problem.count}`) {
        article.dataset.last = `${last}/${problem.count}`;
        article.querySelector("tbody").replaceChildren(...problem.last.map(fields => {
          const row = element("tr");
          for (const name of Object.keys(COLUMNS)) row.append(element("td", name === "at" ? time(fields.at) : fields[name] || ""));
          return row;
        }));
      }
      if (box.children[index] !== article) box.insertBefore(article, box.children[index] || null);
      shown.delete(problem.kind);
    });
    for (const gone of shown.values()) gone.remove();
  }

  function show(state) {
    const { version, profile, mode, compiled } = state.identity;
    write(at("identity"), `${version}, profile ${profile}, mode ${mode}, ${compiled === "true" ? "compiled" : "not compiled"}`);
    at("sign-in").hidden = true;
    at("board").hidden = false;
    write(at("prevented"), number(state.prevented));
    sample(state);
    showHealth(state.health);
    showNow(state);
    showProblems(state);
    drawCharts();
  }

  function connection(state, text) {
    at("connection").dataset.state = state;
    write(at("connection"), text);
  }

  async function ask() {
    const token = sessionStorage.getItem(TOKEN);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    let state;
    try {
      const answer = await fetch("dashboard.json", { headers, signal: AbortSignal.timeout(PATIENCE) });
      if (answer.status === 401) {
        if (token) write(at("sign-in-error"), "This token is not the one that was set.");
        sessionStorage.removeItem(TOKEN);
        at("board").hidden = true;
        at("sign-in").hidden = false;
        connection("off", "A token is needed");
        return;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      state = await answer.json();
    } catch (error) {
      failedSince ||= new Date();
      connection("down", `No answer from the sidecar since ${failedSince.toLocaleTimeString()} (${error.message}); the figures are old`);
      return;
    }
    failedSince = null;
    connection("up", "Live");
    show(state);
  }

  async function run() {
    try { await ask(); } finally { setTimeout(run, PERIOD); }
  }

  at("sign-in").addEventListener("submit", event => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, at("token").value);
    at("token").value = "";
    write(at("sign-in-error"), "");
    ask();
  });
  addEventListener("resize", () => {
    for (const [id, plot] of Object.entries(charts)) plot.setSize({ width: at(id).clientWidth, height: 180 });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of Object.values(charts)) plot.redraw(false, true);
  });
  run();
})();
