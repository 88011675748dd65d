"use strict";
// The formulas of veriloop.linear, for a design whose directions are all alike.
// Symbols and units are those of veriloop.linear.theory: everything is in units of the noise.
//   mu     singular value of the real rows, the same in all directions: sqrt(rows for each direction)
//   center c, the offset of the verifier's centre along each direction
//   width  w, half the width of the window of accepted labels
//   kept   n, kept rows for each direction; sizes: one such number a round
//   dim    p, how many directions
const Theory = (() => {
  const EDGE = 40; // the normal density is zero in double precision beyond this
  const LEAST_MASS = 0.05; // below either, the closed form cancels and quadrature takes over
  const LEAST_WIDTH = 0.5;
  const DROP = 46; // quadrature stops where the density has fallen by exp(-46)
  const REACH = 9; // a normal variable lies farther from its mean once in 10^18
  const STEP = 0.4; // of the trapezoidal rule, which is exact to rounding for these integrands
  const SLACK = Math.sqrt(2 / Math.PI); // the mean size of a noise, in units of the noise
  const PLACES = 128; // biases tried by breakEvenBias
  const ROUNDING = 1e-12;

  // erfc by the rational approximations of W. J. Cody, Math. Comp. 23 (1969), 631-637.
  const A = [3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
    3.20937758913846947e3, 1.85777706184603153e-1];
  const B = [2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
    2.84423683343917062e3];
  const C = [5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
    2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3,
    2.05107837782607147e3, 1.23033935479799725e3, 2.15311535474403846e-8];
  const D = [1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
    1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
    3.43936767414372164e3, 1.23033935480374942e3];
  const P = [3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
    1.60837851487422766e-2, 6.58749161529837803e-4, 1.63153871373020978e-2];
  const Q = [2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1,
    6.05183413124413191e-2, 2.33520497626869185e-3];
  const ROOT_PI = 5.6418958354775628695e-1; // 1 / sqrt(pi)

  function ratio(first, top, bottom, y) {
    let above = first * y;
    let below = y;
    const last = bottom.length - 1;
    for (let i = 0; i < last; i++) {
      above = (above + top[i]) * y;
      below = (below + bottom[i]) * y;
    }
    return (above + top[last]) / (below + bottom[last]);
  }

  function erfc(x) {
    const y = Math.abs(x);
    if (y <= 0.46875) return 1 - x * ratio(A[4], A, B, y * y);
    if (y > 27) return x < 0 ? 2 : 0;
    let value;
    if (y <= 4) {
      value = ratio(C[8], C, D, y);
    } else {
      const inverse = 1 / (y * y);
      value = (ROOT_PI - inverse * ratio(P[5], P, Q, inverse)) / y;
    }
    const coarse = Math.trunc(y * 16) / 16; // exp(-y^2) in two factors keeps its digits
    value *= Math.exp(-coarse * coarse) * Math.exp(-(y - coarse) * (y + coarse));
    return x < 0 ? 2 - value : value;
  }

  const normal = (z) => 0.5 * erfc(-z / Math.SQRT2);
  const density = (z) => Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);
  const clip = (x, low, high) => Math.min(Math.max(x, low), high);

  // Nodes and weights of Gauss-Legendre quadrature on [-1, 1], by Newton's method.
  function legendre(count) {
    const nodes = [];
    const weights = [];
    for (let i = 0; i < count; i++) {
      let x = Math.cos((Math.PI * (i + 0.75)) / (count + 0.5));
      let slope = 1;
      for (let turn = 0; turn < 50; turn++) {
        let before = 1;
        let now = x;
        for (let k = 2; k <= count; k++) {
          [before, now] = [now, ((2 * k - 1) * x * now - (k - 1) * before) / k];
        }
        slope = (count * (x * now - before)) / (x * x - 1);
        const move = now / slope;
        x -= move;
        if (Math.abs(move) < 1e-15) break;
      }
      nodes.push(x);
      weights.push(2 / ((1 - x * x) * slope * slope));
    }
    return [nodes, weights];
  }

  // Nodes and weights of Gauss-Hermite quadrature for N(0, 1): the roots by bisection between
  // those of one degree less, the weights from the orthonormal polynomials.
  function hermite(count) {
    const values = (x, degree) => {
      const all = [1];
      for (let k = 1; k <= degree; k++) {
        const before = k > 1 ? all[k - 2] : 0;
        all.push((x * all[k - 1] - Math.sqrt(k - 1) * before) / Math.sqrt(k));
      }
      return all;
    };
    let roots = [0];
    for (let degree = 2; degree <= count; degree++) {
      const outer = 2 * Math.sqrt(degree) + 1;
      const ends = [-outer, ...roots, outer];
      roots = [];
      for (let i = 0; i < degree; i++) {
        let low = ends[i];
        let high = ends[i + 1];
        const sign = Math.sign(values(low, degree)[degree]);
        for (let turn = 0; turn < 60; turn++) {
          const middle = 0.5 * (low + high);
          if (Math.sign(values(middle, degree)[degree]) === sign) low = middle;
          else high = middle;
        }
        roots.push(0.5 * (low + high));
      }
    }
    const weights = roots.map((x) => 1 / values(x, count - 1).reduce((sum, h) => sum + h * h, 0));
    return [roots, weights];
  }

  const [NODES, WEIGHTS] = legendre(56);
  const [NORMAL, NORMAL_WEIGHTS] = hermite(24);

  // Mass, mean and variance of exp(-rate s - s^2 / 2) on [0, width].
  function fromNearBound(rate, width) {
    const faded = (2 * DROP) / (rate + Math.hypot(rate, Math.sqrt(2 * DROP)));
    const reach = Math.min(width, faded);
    let total = 0;
    let mean = 0;
    const weight = new Array(NODES.length);
    for (let i = 0; i < NODES.length; i++) {
      const s = reach * 0.5 * (1 + NODES[i]);
      weight[i] = 0.5 * WEIGHTS[i] * Math.exp(-s * (rate + 0.5 * s));
      total += weight[i];
      mean += weight[i] * s;
    }
    mean /= total;
    let variance = 0;
    for (let i = 0; i < NODES.length; i++) {
      const away = reach * 0.5 * (1 + NODES[i]) - mean;
      variance += (weight[i] * away * away) / total;
    }
    return { mass: reach * total, mean, variance };
  }

  // Share, mean and variance of N(offset, 1) inside [center - width, center + width].
  function accepted(offset, center, width) {
    const alpha = center - width - offset;
    const beta = center + width - offset;
    const flip = alpha > -beta;
    const far = flip ? -beta : alpha;
    const near = flip ? -alpha : beta;
    const mass = normal(near) - normal(far);
    const sign = flip ? -1 : 1;
    if (mass < LEAST_MASS || 2 * width < LEAST_WIDTH) {
      const tail = fromNearBound(-near, 2 * width);
      const bound = flip ? center - width : center + width;
      return {
        share: density(near) * tail.mass,
        mean: bound - sign * tail.mean,
        variance: tail.variance,
      };
    }
    const a = clip(far, -EDGE, EDGE);
    const b = clip(near, -EDGE, EDGE);
    const below = density(a) / mass;
    const above = density(b) / mass;
    const c = above - below;
    const g = b * above - a * below;
    return { share: mass, mean: offset - sign * c, variance: 1 - g - c * c };
  }

  const contractionFactor = (width) => accepted(0, 0, width).variance;

  // The error at infinite size, and the variance that the size divides, of one direction.
  function oneRound(mu, center, width) {
    let error = 0;
    let spread = 0;
    let total = 0;
    for (let z = -REACH; z < REACH + STEP / 2; z += STEP) {
      const weight = density(z);
      const { mean, variance } = accepted(z / mu, center, width);
      total += weight;
      error += weight * mean * mean;
      spread += weight * variance;
    }
    return { error: error / total, spread: spread / total };
  }

  function oneRoundMse(mu, center, width, kept, dim) {
    const { error, spread } = oneRound(mu, center, width);
    return dim * (error + spread / kept);
  }

  function logImprovement(mu, center, width, kept) {
    return 0.5 * Math.log(1 / (mu * mu) / oneRoundMse(mu, center, width, kept, 1));
  }

  // The largest bias, the same along all directions, at which one round helps; 0 where none does.
  function breakEvenBias(mu, width, kept, dim) {
    const baseline = (1 - ROUNDING) / (mu * mu);
    const pays = (center) => oneRoundMse(mu, center, width, kept, 1) < baseline;
    const reach = width + 1 / mu; // farther off, any accepted label is worse than the real rows
    let place = PLACES;
    while (place >= 0 && !pays((reach * place) / PLACES)) place -= 1;
    if (place < 0) return 0;
    let low = (reach * place) / PLACES;
    let high = (reach * Math.min(place + 1, PLACES)) / PLACES;
    for (let turn = 0; turn < 52; turn++) {
      const middle = 0.5 * (low + high);
      if (pays(middle)) low = middle;
      else high = middle;
    }
    return 0.5 * (low + high) * Math.sqrt(dim);
  }

  function plateau(width, kept, dim) {
    const rho = contractionFactor(width);
    const w = Math.min(width, EDGE);
    const gap = (2 * w * density(w)) / (1 - erfc(w / Math.SQRT2)); // 1 - rho without cancellation
    return (dim * rho) / (kept * (1 + rho)) / gap;
  }

  function unfilteredMse(mu, sizes, dim) {
    const errors = [dim / (mu * mu)];
    for (const size of sizes) errors.push(errors[errors.length - 1] + dim / size);
    return errors;
  }

  // Nodes and weights that sum smooth functions as the many points do.
  function asChebyshev(points, masses) {
    let low = Infinity;
    let high = -Infinity;
    for (const point of points) {
      low = Math.min(low, point);
      high = Math.max(high, point);
    }
    const count = 32 + Math.trunc(6 * (high - low));
    const sums = new Float64Array(count);
    points.forEach((point, i) => {
      const x = (2 * point - low - high) / (high - low);
      let before = x;
      let now = 1;
      for (let k = 0; k < count; k++) {
        sums[k] += masses[i] * now;
        [before, now] = [now, 2 * x * now - before];
      }
    });
    const nodes = [];
    const weights = [];
    for (let i = 0; i < count; i++) {
      const angle = (Math.PI * (i + 0.5)) / count;
      let weight = sums[0];
      for (let k = 1; k < count; k++) weight += 2 * sums[k] * Math.cos(angle * k);
      nodes.push(0.5 * (low + high) + 0.5 * (high - low) * Math.cos(angle));
      weights.push(weight / count);
    }
    return [nodes, weights];
  }

  // Mean and variance of the estimation error by round along one direction, and the acceptance.
  function expectedPath(mu, center, width, sizes) {
    const half = Math.max(120, Math.ceil(REACH / 0.6 / mu));
    let nodes = [];
    let weights = [];
    for (let i = -half; i <= half; i++) {
      const z = (REACH * i) / half;
      nodes.push(z / mu);
      weights.push(Math.exp(-0.5 * z * z));
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    weights = weights.map((weight) => weight / total);
    const path = { mean: [0], variance: [1 / (mu * mu)], acceptance: [] };
    for (const size of sizes) {
      const laws = nodes.map((node) => accepted(node, center, width));
      let drawn = 0;
      let mean = 0;
      laws.forEach((law, i) => {
        drawn += weights[i] / law.share;
        mean += weights[i] * law.mean;
      });
      let variance = 0;
      laws.forEach((law, i) => {
        variance += weights[i] * ((law.mean - mean) ** 2 + law.variance / size);
      });
      path.mean.push(mean);
      path.variance.push(variance);
      path.acceptance.push(1 / drawn);
      const reach = REACH * Math.sqrt(variance);
      const points = [];
      const masses = [];
      laws.forEach((law, i) => {
        const deviation = Math.sqrt(law.variance / size);
        NORMAL.forEach((z, j) => {
          points.push(clip(law.mean + deviation * z, mean - reach, mean + reach));
          masses.push(weights[i] * NORMAL_WEIGHTS[j]);
        });
      });
      [nodes, weights] = asChebyshev(points, masses);
    }
    return path;
  }

  // The expected squared error by round, over all directions.
  function errorByRound(mu, center, width, sizes, dim) {
    const path = expectedPath(mu, center, width, sizes);
    return path.mean.map((mean, k) => dim * (mean * mean + path.variance[k]));
  }

  return {
    SLACK, accepted, breakEvenBias, contractionFactor, erfc, errorByRound, expectedPath,
    logImprovement, oneRoundMse, plateau, unfilteredMse,
  };
})();
