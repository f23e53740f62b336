// A product as a card.

import { element, span, spoken } from './dom.js';
import { MODELS, calm, money, percent, ruled } from './words.js';

const REDUCED = 0.98;
/** Share of stores from which a promotion is worth a word. */
const PROMOTED = 0.01;
const PROMOTIONS = {
  mailer: 'in the mailer of so many stores, weighted by customers',
  display: 'on display in so many stores, weighted by customers',
  coupon: 'a coupon campaign covers it',
};
const HUES = [22, 145, 255, 75, 310, 190, 345, 115, 280, 50, 215, 165];

/** What a product is called: its name, else its class, else its number. */
export function title(product, id) {
  return product?.name ?? calm(product?.leaf_category ?? product?.category) ?? `Product ${id}`;
}

/**
 * One card.
 * @param {{id: string, rank: number, product?: object, explanation?: object}} shown
 * @returns {HTMLLIElement}
 */
export function card(shown, open) {
  const { id, rank, product, explanation } = shown;
  const item = element('li', { class: 'cell', 'data-id': id });
  item.append(
    element(
      'button',
      { class: 'card', type: 'button', tabindex: -1, 'aria-haspopup': 'dialog', 'data-id': id, onclick: () => open(shown) },
      tile(product, id, rank),
      span('body', ...facts(product, id, explanation), explanation?.shares ? shareBar(explanation.shares) : null),
      span('move'),
    ),
  );
  return item;
}

/** Say on a card how it moved: places it rose, or that it is new or gone. */
export function mark(item, { places, added, gone }) {
  const place = item.querySelector('.move');
  item.classList.toggle('is-gone', gone);
  if (added) place.replaceChildren(span('badge new', 'new'));
  else if (gone) place.replaceChildren(span('badge gone', 'gone'));
  else if (places === undefined) place.replaceChildren();
  else if (places === 0) place.replaceChildren(span('badge stayed', '=', spoken('same place')));
  else place.replaceChildren(arrow(places));
}

function arrow(places) {
  const rose = places > 0;
  const number = Math.abs(places);
  const sign = element('span', { 'aria-hidden': 'true' }, rose ? '▲ ' : '▼ ');
  const told = spoken(`${rose ? 'up' : 'down'} `);
  return span(`badge ${rose ? 'rose' : 'fell'}`, sign, told, String(number), spoken(number === 1 ? ' place' : ' places'));
}

function tile(product, id, rank) {
  const family = product?.category ?? product?.department ?? '';
  const words = (product?.leaf_category ?? product?.category ?? product?.name ?? '').split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const initials = words.length > 1 ? words[0][0] + words[1][0] : (words[0] ?? '').slice(0, 2);
  const look = hash(id);
  return element(
    'span',
    {
      class: 'tile',
      style: {
        '--hue': HUES[hash(family) % HUES.length],
        '--x': `${15 + (look % 70)}%`,
        '--y': `${10 + ((look >> 7) % 80)}%`,
        '--turn': `${(look >> 14) % 360}deg`,
      },
    },
    span('rank', spoken('Rank '), String(rank)),
    element('span', { class: 'initials', 'aria-hidden': 'true' }, initials || '?'),
  );
}

function facts(product, id, explanation) {
  if (!product) return [span('name', `Product ${id}`), span('maker', 'no details'), tags({}, explanation)];
  const path = [product.department, product.category].map(calm).filter(Boolean);
  const maker = [calm(product.brand), product.package_size?.toLowerCase()].filter(Boolean);
  return [
    path.length ? span('kicker', path.join(' › ')) : null,
    span('name', title(product, id)),
    span('maker', maker.join(' · ') || `No. ${id}`),
    tags(product, explanation),
    price(product),
  ];
}

function price({ price: now, regular_price: before, price_ratio: ratio }) {
  const reduced = ratio <= REDUCED;
  return span(
    'price',
    now === null ? null : span('now', money(now)),
    reduced && before !== null ? element('s', { class: 'before' }, spoken('instead of '), money(before)) : null,
    reduced ? span('off', `−${percent(1 - ratio)}`) : null,
  );
}

function tags({ mailer, display, coupon }, explanation) {
  const promotions = [
    mailer >= PROMOTED && ['mailer', 'Mailer', mailer],
    display >= PROMOTED && ['display', 'Display', display],
    coupon > 0 && ['coupon', 'Coupon', 1],
  ].filter(Boolean);
  return span(
    'tags',
    ...promotions.map(([kind, label, share]) =>
      element('span', { class: `tag ${kind}`, title: PROMOTIONS[kind] }, share < 0.995 ? `${label} ${percent(share)}` : label),
    ),
    ...(explanation?.rules ?? [])
      .map(ruled)
      .map(({ rule, text }) => element('span', { class: 'rule', title: `Rule ${rule}` }, text)),
  );
}

/** The models' parts in the score. */
export function shareBar(shares) {
  const known = MODELS.filter(([name]) => Number.isFinite(shares[name]));
  const whole = known.reduce((sum, [name]) => sum + Math.max(0, shares[name]), 0) || 1;
  const told = known.map(([name, label]) => `${label} ${percent(shares[name])}`).join(', ');
  return element(
    'span',
    { class: 'shares', title: told },
    spoken(told),
    ...known.map(([name]) =>
      element('i', { class: `share ${name}`, style: { '--share': `${(100 * Math.max(0, shares[name])) / whole}%` } }),
    ),
  );
}

/** A number from a text, the same every time (FNV-1a). */
function hash(text) {
  let value = 0x811c9dc5;
  for (const character of String(text)) value = Math.imul(value ^ character.codePointAt(0), 0x01000193) >>> 0;
  return (value ^ (value >>> 15)) >>> 0;
}
