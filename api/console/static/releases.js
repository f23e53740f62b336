// Which releases have traffic: who is live, how canary and shadow do beside it, and what was changed lately and why.

import { releases } from './api.js';
import { element, span } from './dom.js';
import { count, milliseconds, percent, share, wayOf } from './words.js';

const REFRESH_MS = 5_000;

const GUARDS = { errors: 'Errors', fallback: 'Fallback', p99: 'p99', churn: 'Rank churn' };
const STATES = { waiting: 'too few yet', held: 'held', broken: 'broken' };

/** The releases that can be asked for by their number. */
export function served(status) {
  return status ? status.releases.filter(({ state }) => state === 'serving').map(({ release }) => release) : [];
}

/** Keeps a panel up to date while it is open. */
export class ReleasesPanel {
  #root;
  #line = element('span', { class: 'releases-line' });
  #body = element('div', { class: 'releases-body' });
  #on;
  #timer;

  /**
   * @param {HTMLDetailsElement} root hidden where the server has one release and nothing was ever changed
   * @param {{served: (numbers: number[]) => void, compare: (left: string, right: string) => void}} on what to call:
   *   these releases can be asked for; two orders shall be compared
   */
  constructor(root, on) {
    this.#root = root;
    this.#on = on;
    root.append(element('summary', {}, element('b', {}, 'Releases'), ' ', this.#line), this.#body);
    root.addEventListener('toggle', () => this.refresh());
    document.addEventListener('visibilitychange', () => this.refresh());
  }

  /** Ask, show, and ask again later while somebody looks. */
  async refresh() {
    clearTimeout(this.#timer);
    const status = await releases();
    if (status) this.#show(status);
    clearTimeout(this.#timer);
    if (this.#root.open && !document.hidden) this.#timer = setTimeout(() => this.refresh(), REFRESH_MS);
  }

  #show(status) {
    const numbers = served(status);
    this.#root.hidden = numbers.length < 2 && !status.history.length;
    this.#line.textContent = line(status);
    const focused = this.#body.contains(document.activeElement) ? document.activeElement.textContent : null;
    this.#body.replaceChildren(...parts(status, this.#on.compare));
    if (focused) [...this.#body.querySelectorAll('button')].find((each) => each.textContent === focused)?.focus();
    this.#on.served(numbers);
  }
}

function line({ live, wanted_canary: canary, wanted_shadow: shadow }) {
  const told = [`${live} is live`];
  if (canary) told.push(`${canary.release} is canary for ${canary.percent} % of the customers`);
  if (shadow) told.push(`${shadow.release} is shadow of ${shadow.percent} % of the requests`);
  return told.join(', ');
}

function parts(status, compare) {
  const beside = status.beside ?? { guards: [], taken_back: null, comparisons: [] };
  return [
    status.broken && notice('The document of releases can’t be read. ', status.broken),
    beside.taken_back && takenBack(beside.taken_back, status),
    states(status),
    beside.guards.length ? guards(beside.guards, status) : null,
    ...beside.comparisons.map((each) => comparison(each, compare)),
    changes(status.history),
  ].filter(Boolean);
}

function notice(title, text) {
  return element('p', { class: 'notice degraded' }, element('b', {}, title), text);
}

function takenBack({ release, why, unwritten }, { wanted_canary: canary }) {
  const told = notice(`Canary ${release} was taken back: `, why);
  if (unwritten && canary) told.append(` The document still wants it: ${unwritten}`);
  return told;
}

function states({ releases: all }) {
  return element(
    'ul',
    { class: 'release-states', 'aria-label': 'Releases here' },
    ...all.map(({ name, state, why }) => element('li', {}, element('b', {}, name), ' ', span(`release-state ${state}`, state), why && ` ${why}`)),
  );
}

function guards(all, { canary }) {
  const head = ['Guard', `Release ${canary}`, 'Live', 'Allowed', ''].map((each) => element('th', { scope: 'col' }, each));
  const rows = all.map((each) => {
    const show = each.guard === 'p99' ? (value) => milliseconds(1e3 * value) : share;
    return element(
      'tr',
      { title: each.told },
      element('th', { scope: 'row' }, GUARDS[each.guard] ?? each.guard),
      ...[each.figure, each.live, each.bound].map((value) => element('td', {}, value === null ? '–' : show(value))),
      element('td', {}, span(`guard-state ${each.state}`, STATES[each.state] ?? each.state), ` of ${count(each.observations)}`),
    );
  });
  return element('table', { class: 'guards' }, element('caption', {}, 'Guards of the canary'), element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows));
}

function comparison({ role, release, live, rankings, failed, overlap_10: ten, overlap_20: twenty, rbo, seconds, live_seconds: liveSeconds }, compare) {
  const figure = (name, value) => element('div', { class: 'figure' }, element('dt', {}, name), element('dd', {}, value));
  const or = (value, show) => (value === null ? '–' : show(value));
  const ms = (value) => milliseconds(1e3 * value);
  return element(
    'section',
    { class: 'release-comparison', 'aria-label': `Release ${release} beside release ${live}` },
    element('h2', {}, `${role === 'canary' ? 'Canary' : 'Shadow'} ${release} beside ${live}`),
    element(
      'dl',
      {},
      figure('Rows', count(rankings)),
      figure('Failed', count(failed)),
      figure('Overlap@10', or(ten, percent)),
      figure('Overlap@20', or(twenty, percent)),
      figure('RBO', or(rbo, (value) => value.toFixed(2))),
      figure('Call', or(seconds, ms)),
      figure('Live call', or(liveSeconds, ms)),
    ),
    element('button', { type: 'button', class: 'again', onclick: () => compare(wayOf(live), wayOf(release)) }, `Compare ${live} and ${release} below`),
  );
}

function changes(history) {
  if (!history.length) return null;
  const items = history.slice(0, 5).map(({ at, change, why }) =>
    element('li', {}, element('time', { datetime: at }, new Date(at).toLocaleString()), ' ', element('b', {}, change), why && `: ${why}`),
  );
  return element('section', {}, element('h2', {}, 'Last changes'), element('ol', { class: 'release-changes' }, ...items));
}
