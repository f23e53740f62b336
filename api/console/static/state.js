// What is being looked at, as it stands in the address: a view can be shared.

import { WAYS, releaseOf } from './words.js';

export const LIMITS = [12, 24, 48, 96];

const DEFAULTS = {
  container: '',
  customer: '',
  view: 'one',
  order: 'personal',
  left: 'popularity',
  right: 'personal',
  limit: 24,
};

/** The view that the address names; what makes no sense in it counts as not given. */
export function read() {
  const given = new URLSearchParams(location.search);
  const known = (way) => Object.hasOwn(WAYS, way) || releaseOf(way) !== null;
  const way = (name) => (known(given.get(name) ?? '') ? given.get(name) : DEFAULTS[name]);
  const limit = Number(given.get('limit'));
  return {
    container: given.get('container') ?? DEFAULTS.container,
    customer: /^\d{1,19}$/.test(given.get('customer') ?? '') ? given.get('customer') : DEFAULTS.customer,
    view: given.get('view') === 'compare' ? 'compare' : DEFAULTS.view,
    order: way('order'),
    left: way('left'),
    right: way('right'),
    limit: LIMITS.includes(limit) ? limit : DEFAULTS.limit,
  };
}

/** Put the view into the address. */
export function write(state) {
  const shown = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  const query = new URLSearchParams(shown).toString();
  history.replaceState(null, '', query ? `?${query}` : location.pathname);
}
