// What the page says: numbers, names and reasons in plain words.

const MONEY = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const PERCENT = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 0 });
const SHARE = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 2 });
const SCORE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3, minimumFractionDigits: 3 });
const COUNT = new Intl.NumberFormat();

export const money = (value) => MONEY.format(value);
export const percent = (value) => PERCENT.format(value);
export const share = (value) => SHARE.format(value);
export const score = (value) => SCORE.format(value);
export const count = (value) => COUNT.format(value);

/** Milliseconds with as many digits as tell something. */
export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;

/** `1 product`, `2 products`. */
export const several = (number, noun) => `${count(number)} ${noun}${number === 1 ? '' : 's'}`;

/** A catalog's shouted names in sentence case; others stay as they are. */
export function calm(text) {
  if (!text || text !== text.toUpperCase()) return text;
  const lower = text.toLowerCase();
  return lower.charAt(0).toUpperCase() + lower.slice(1);
}

/** The models, in the order in which bars show them. */
export const MODELS = [
  ['affinity', 'Affinity', 'does this customer buy from this category?'],
  ['demand', 'Demand', 'how well does it sell at this week’s offer?'],
  ['preference', 'Preference', 'does this customer want this product now?'],
];

/** The orders that one can look at. */
export const WAYS = {
  personal: { title: 'Personalised', hint: 'ranked now, for the customer' },
  anonymous: { title: 'Anonymous', hint: 'ranked now, for a customer nobody knows' },
  precomputed: { title: 'Precomputed', hint: 'what comes while the ensemble can’t rank' },
  popularity: { title: 'Popularity', hint: 'the container’s own order, the same for everybody' },
};

/** The order of one release, whichever the customer has. */
export const wayOf = (release) => `release-${release}`;

/** The release whose order a way is; null for the ways that everybody has. */
export const releaseOf = (way) => Number(/^release-([1-9]\d{0,8})$/.exec(way)?.[1] ?? 0) || null;

/** Who made an order. */
export function madeBy(source, release) {
  if (source === 'ensemble') return `Ranked by ${release ?? 'the ensemble'}`;
  if (source === 'precomputed') return `Precomputed by ${release ?? 'an earlier run'}`;
  return source === 'popularity' ? 'By popularity' : source;
}

const REASONS = {
  ensemble_unavailable: 'The ensemble failed, or isn’t asked because it failed just now.',
  ensemble_timeout: 'The ensemble didn’t answer in time.',
  ensemble_rejected: 'The ensemble refused the request.',
  queue_full: 'Too many requests were waiting for the ensemble.',
  overloaded: 'More requests came than can be ranked in time.',
  row_invalid: 'The request didn’t fit what the models take.',
  stale_pool: 'Products and offers are older than they should be.',
  partial_pool: 'Some products may be missing, or their offers unknown.',
  degraded_window: 'An earlier page of this scroll was degraded, and its order goes on.',
  events_unavailable: 'What the customer did lately can’t be read now.',
  catalog_unavailable: 'The catalog can’t be reached: what is in stock isn’t known.',
};

/** Why an answer is degraded. */
export const because = (reason) => REASONS[reason] ?? reason.replaceAll('_', ' ');

const EFFECTS = {
  exclude: 'excluded',
  availability: 'not available',
  pin: 'pinned',
  boost: 'boosted',
  bury: 'buried',
  cap: 'capped',
  hide_bought: 'bought already',
  min_new: 'new',
};

/** What a rule did to a product: `pinned: 7 → 1`. */
export function ruled({ rule, effect, from, to }) {
  const what = EFFECTS[effect] ?? effect ?? 'applied';
  const moved = from !== undefined && from !== null && to !== undefined && to !== null && from !== to;
  return { rule: String(rule), text: moved ? `${what}: ${from} → ${to}` : String(what) };
}
