// How far two orders agree, and what moved between them.

/** Weight of the ranks in `rbo`: 86 % of it is in the first ten. */
export const PERSISTENCE = 0.9;

/** Products that the first `depth` of both orders have in common, as a share of them. */
export function overlap(left, right, depth = 10) {
  const first = new Set(left.slice(0, depth));
  const second = right.slice(0, depth);
  const most = Math.max(first.size, second.length);
  return most ? second.filter((id) => first.has(id)).length / most : 1;
}

/**
 * Rank-biased overlap of two orders without repetitions, extrapolated from what is seen of them: RBO_EXT, equation 32
 * of Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", TOIS 28(4), 2010.
 * @returns {number} 0 for nothing in common, 1 for the same order
 */
export function rbo(left, right, p = PERSISTENCE) {
  const [short, long] = left.length <= right.length ? [left, right] : [right, left];
  const s = short.length;
  const l = long.length;
  if (!l) return 1;
  if (!s) return 0;
  const seenShort = new Set();
  const seenLong = new Set();
  let common = 0; // X_d, the size of the overlap at depth d
  let commonAtShort = 0; // X_s
  let sum = 0;
  for (let d = 1; d <= l; d += 1) {
    const longer = long[d - 1];
    const shorter = d <= s ? short[d - 1] : undefined;
    if (longer === shorter) common += 1;
    else common += Number(seenShort.has(longer)) + Number(shorter !== undefined && seenLong.has(shorter));
    seenLong.add(longer);
    if (shorter !== undefined) seenShort.add(shorter);
    if (d === s) commonAtShort = common;
    sum += (common / d) * p ** d;
    if (d > s) sum += ((commonAtShort * (d - s)) / (s * d)) * p ** d;
  }
  return ((1 - p) / p) * sum + ((common - commonAtShort) / l + commonAtShort / s) * p ** l;
}

/**
 * What moved from `left` to `right`.
 * @returns {{places: Map<string, number>, added: Set<string>, gone: Set<string>}} places a product of both rose
 *   (negative: fell); those of `right` alone, and of `left` alone
 */
export function moves(left, right) {
  const before = new Map(left.map((id, rank) => [id, rank]));
  const after = new Set(right);
  const places = new Map();
  const added = new Set();
  right.forEach((id, rank) => (before.has(id) ? places.set(id, before.get(id) - rank) : added.add(id)));
  return { places, added, gone: new Set(left.filter((id) => !after.has(id))) };
}
