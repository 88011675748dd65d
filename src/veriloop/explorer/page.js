"use strict";
(() => {
  const controls = document.getElementById("controls");
  const NAMES = ["bias", "radius", "noise", "rows", "dim", "kept", "last", "rounds"];
  const inputs = Object.fromEntries(NAMES.map((name) => [name, document.getElementById(name)]));
  const LOG_STEPS = 200;
  const PLACES = 61; // points of a curve over bias or radius
  const PAUSE = 80; // milliseconds
  const HEIGHT = 280;
  const MARGIN = { left: 58, right: 14, top: 26, bottom: 42 };

  // A slider on a logarithmic scale counts steps, so arrow keys move it by equal factors.
  for (const input of Object.values(inputs)) {
    if (input.dataset.scale !== "log") continue;
    const least = Number(input.min);
    const most = Number(input.max);
    const first = Number(input.getAttribute("value"));
    input.dataset.least = least;
    input.dataset.most = most;
    input.min = 0;
    input.max = LOG_STEPS;
    input.step = 1;
    const place = Math.round((LOG_STEPS * Math.log(first / least)) / Math.log(most / least));
    input.setAttribute("value", place);
    input.value = place;
  }

  function setting(name) {
    const input = inputs[name];
    const value = Number(input.value);
    if (input.dataset.scale !== "log") return value;
    const least = Number(input.dataset.least);
    const most = Number(input.dataset.most);
    const exact = least * (most / least) ** (value / LOG_STEPS);
    const digits = Math.max(0, Math.floor(Math.log10(exact)) - 1); // to two digits
    return Math.round(exact / 10 ** digits) * 10 ** digits;
  }

  function settings() {
    const chosen = Object.fromEntries(NAMES.map((name) => [name, setting(name)]));
    chosen.growing = controls.elements.growth.value === "growing";
    return chosen;
  }

  function sizesOf(chosen) {
    const sizes = [];
    for (let k = 0; k < chosen.rounds; k++) {
      const part = chosen.rounds > 1 ? k / (chosen.rounds - 1) : 0;
      const size = chosen.growing ? chosen.kept + (chosen.last - chosen.kept) * part : chosen.kept;
      sizes.push(Math.round(size));
    }
    return sizes;
  }

  const centerOf = (bias, chosen) => bias / (chosen.noise * Math.sqrt(chosen.dim));
  const widthOf = (radius, chosen) => radius / chosen.noise + Theory.SLACK;

  // All numbers of the page, in the units of the sliders.
  function computed(chosen) {
    const unit = chosen.noise ** 2;
    const mu = Math.sqrt(chosen.rows);
    const center = centerOf(chosen.bias, chosen);
    const width = widthOf(chosen.radius, chosen);
    const sizes = sizesOf(chosen);
    const path = Theory.expectedPath(mu, center, width, sizes);
    const verified = path.mean.map((mean, k) => unit * chosen.dim * (mean ** 2 + path.variance[k]));
    const none = Theory.unfilteredMse(mu, sizes, chosen.dim).map((error) => unit * error);
    const lastSize = sizes[sizes.length - 1];
    const level = chosen.bias ** 2 + unit * Theory.plateau(width, lastSize, chosen.dim);
    return {
      sizes, verified, none, level, acceptance: path.acceptance,
      improvement: Theory.logImprovement(mu, center, width, sizes[0]),
    };
  }

  function improvementByBias(chosen) {
    const mu = Math.sqrt(chosen.rows);
    const width = widthOf(chosen.radius, chosen);
    const kept = sizesOf(chosen)[0];
    const most = Number(inputs.bias.max);
    const x = Array.from({ length: PLACES }, (_, i) => (most * i) / (PLACES - 1));
    const y = x.map((bias) => Theory.logImprovement(mu, centerOf(bias, chosen), width, kept));
    return { x, y };
  }

  function frontier(chosen) {
    const mu = Math.sqrt(chosen.rows);
    const kept = sizesOf(chosen)[0];
    const most = Number(inputs.radius.max);
    const x = Array.from({ length: PLACES }, (_, i) => (most * i) / (PLACES - 1));
    const y = x.map((radius) => {
      const width = widthOf(radius, chosen);
      return chosen.noise * Theory.breakEvenBias(mu, width, kept, chosen.dim);
    });
    return { x, y };
  }

  function shown(value) {
    if (value >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)) return value.toExponential(2);
    return String(Number(value.toPrecision(3)));
  }

  function tell(id, value, text) {
    const element = document.getElementById(id);
    element.textContent = text === undefined ? shown(value) : text;
    element.dataset.value = value;
  }

  function sentence(chosen, found) {
    const helps = found.improvement > 0;
    const last = found.verified[found.verified.length - 1];
    const first = helps ? "One verified round helps." : "One verified round harms.";
    const rounds = chosen.rounds === 1 ? "After it" : `After ${chosen.rounds} rounds`;
    const better = last < found.verified[0] ? "better" : "worse";
    const other = last < found.none[found.none.length - 1] ? "better" : "worse";
    const joined = better === other ? "and" : "but";
    return `${first} ${rounds} the verified model is ${better} than the real data alone, ` +
      `${joined} ${other} than without a verifier.`;
  }

  // Charts -----------------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";

  function add(parent, name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  function linearTicks(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
      ticks.push(Number((i * step).toPrecision(12)));
    }
    return ticks;
  }

  function logTicks(low, high) {
    const decades = Math.log10(high / low);
    const digits = decades > 3 ? [1] : decades > 1 ? [1, 3] : [1, 2, 3, 5];
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const digit of digits) {
        const tick = digit * 10 ** power;
        if (tick >= low && tick <= high) ticks.push(Number(tick.toPrecision(3)));
      }
    }
    return ticks;
  }

  const plain = (tick) => (Math.abs(tick) >= 1e5 || (tick && Math.abs(tick) < 1e-3))
    ? tick.toExponential(0) : String(tick);

  // what: { id, title, xLabel, yLabel, x: [low, high], y: [low, high], log, lines, mark, area, zero }
  function draw(what) {
    const place = document.querySelector(`#${what.id} .chart`);
    const width = Math.max(260, place.clientWidth);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("height", HEIGHT);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", what.title);
    const inner = { right: width - MARGIN.right, bottom: HEIGHT - MARGIN.bottom };
    const scale = what.log ? Math.log10 : (value) => value;
    const [yLow, yHigh] = what.y.map(scale);
    const across = (value) => MARGIN.left +
      ((value - what.x[0]) / (what.x[1] - what.x[0])) * (inner.right - MARGIN.left);
    const down = (value) => inner.bottom -
      ((scale(value) - yLow) / (yHigh - yLow)) * (inner.bottom - MARGIN.top);
    const inside = (value) => Math.min(Math.max(value, MARGIN.top - 1), inner.bottom + 1);
    const yTicks = what.log ? logTicks(...what.y) : linearTicks(...what.y, 5);
    for (const tick of yTicks) {
      const y = down(tick);
      add(svg, "line", { class: "grid", x1: MARGIN.left, x2: inner.right, y1: y, y2: y });
      add(svg, "text", { class: "tick", x: MARGIN.left - 7, y: y + 4, "text-anchor": "end" },
        plain(tick));
    }
    for (const tick of linearTicks(...what.x, Math.min(8, width / 60))) {
      if (what.whole && !Number.isInteger(tick)) continue;
      add(svg, "text", { class: "tick", x: across(tick), y: inner.bottom + 17,
        "text-anchor": "middle" }, plain(tick));
      add(svg, "line", { class: "axis", x1: across(tick), x2: across(tick), y1: inner.bottom,
        y2: inner.bottom + 4 });
    }
    if (what.zero) {
      add(svg, "line", { class: "zero", x1: MARGIN.left, x2: inner.right, y1: down(0),
        y2: down(0) });
    }
    add(svg, "path", { class: "axis",
      d: `M${MARGIN.left} ${MARGIN.top}V${inner.bottom}H${inner.right}` });
    add(svg, "text", { x: (MARGIN.left + inner.right) / 2, y: HEIGHT - 6,
      "text-anchor": "middle" }, what.xLabel);
    add(svg, "text", { x: 0, y: 13 }, what.yLabel);
    for (const line of what.lines) {
      const points = line.x.map((x, i) =>
        `${across(x).toFixed(2)} ${inside(down(line.y[i])).toFixed(2)}`);
      if (line.area) {
        const floor = inner.bottom;
        add(svg, "path", { class: "pays",
          d: `M${across(line.x[0])} ${floor}L${points.join("L")}L${inner.right} ${floor}Z` });
      }
      add(svg, "path", { class: line.kind, d: `M${points.join("L")}` });
    }
    if (what.mark) {
      const [x, y] = what.mark;
      add(svg, "circle", { class: "mark", r: 6, cx: across(x), cy: inside(down(y)) });
    }
    place.replaceChildren(svg);
  }

  function drawByRound(chosen, found) {
    const rounds = found.verified.map((_, k) => k);
    const flat = (value) => rounds.map(() => value);
    const all = [...found.verified, ...found.none, found.level].filter(Number.isFinite);
    draw({
      id: "by-round", log: true, whole: true,
      title: "Error by round, verified and without a verifier",
      xLabel: "round", yLabel: "squared error  (↓ lower is better)",
      x: [0, chosen.rounds], y: [0.7 * Math.min(...all), 1.4 * Math.max(...all)],
      lines: [
        { x: rounds, y: flat(found.verified[0]), kind: "start" },
        { x: rounds, y: flat(found.level), kind: "plateau" },
        { x: rounds, y: found.none, kind: "unverified" },
        { x: rounds, y: found.verified, kind: "verified" },
      ],
    });
  }

  function drawOneRound(chosen, found, curve) {
    const low = Math.min(0, ...curve.y);
    const high = Math.max(0, ...curve.y);
    const room = 0.06 * (high - low);
    draw({
      id: "one-round", zero: true,
      title: "Improvement of one verified round by bias",
      xLabel: "bias", yLabel: "improvement  (↑ higher is better, 0 is none)",
      x: [0, Number(inputs.bias.max)], y: [low - room, high + room],
      lines: [{ ...curve, kind: "verified" }],
      mark: [chosen.bias, found.improvement],
    });
  }

  function drawFrontier(chosen, curve) {
    const high = 1.25 * Math.max(...curve.y, chosen.bias, 0.1 * chosen.noise);
    draw({
      id: "frontier",
      title: "The largest bias at which one verified round helps, by radius",
      xLabel: "radius", yLabel: "bias",
      x: [0, Number(inputs.radius.max)], y: [0, high],
      lines: [{ ...curve, kind: "verified", area: true }],
      mark: [chosen.radius, chosen.bias],
    });
  }

  // The page ---------------------------------------------------------------------------------

  let line = { key: "", curve: null }; // the frontier, which few of the sliders move
  let later; // it takes the longest, and is drawn when a slider stands still

  function update() {
    const chosen = settings();
    inputs.last.disabled = !chosen.growing;
    for (const name of NAMES) {
      const text = String(Number(chosen[name].toPrecision(4)));
      document.querySelector(`output[for="${name}"]`).textContent = text;
      inputs[name].setAttribute("aria-valuetext", text);
    }
    const found = computed(chosen);
    const end = chosen.rounds;
    document.getElementById("verdict").textContent = sentence(chosen, found);
    tell("error-start", found.verified[0]);
    tell("error-one", found.verified[1]);
    tell("error-last", found.verified[end]);
    tell("error-none", found.none[end]);
    tell("plateau", found.level);
    tell("acceptance", found.acceptance[0], `${shown(100 * found.acceptance[0])} %`);
    drawByRound(chosen, found);
    drawOneRound(chosen, found, improvementByBias(chosen));
    clearTimeout(later);
    const key = [chosen.noise, chosen.rows, chosen.kept, chosen.dim].join();
    if (line.key === "" || key === line.key) updateFrontier(key, chosen);
    else later = setTimeout(updateFrontier, PAUSE, key, chosen);
  }

  function updateFrontier(key, chosen) {
    if (key !== line.key) line = { key, curve: frontier(chosen) };
    drawFrontier(chosen, line.curve);
  }

  let waiting = false;
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      update();
    });
  }

  controls.addEventListener("input", soon);
  controls.addEventListener("reset", () => setTimeout(soon));
  controls.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("resize", soon);
  update();
})();
