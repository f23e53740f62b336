// One order of a container's products: asks for it, shows it, goes on where it is scrolled.

import { Problem, describe, explain, page } from './api.js';
import { card, mark } from './cards.js';
import { element, span } from './dom.js';
import { glide, positions } from './motion.js';
import { timingBar } from './timing.js';
import { WAYS, because, madeBy, several, wayOf } from './words.js';

/** Answers to a cursor that can't be used, or not any more. */
const OVER = [400, 410];

export class Column {
  #query;
  #known;
  #cursor = null;
  #under = null;
  #select;
  #releases = element('optgroup', { label: 'One release' });
  #notes = element('div', { class: 'notes' });
  #more = element('button', { class: 'more', type: 'button', hidden: true, onclick: () => this.more() }, 'More products');
  #end = element('div', { class: 'end' }, this.#more);
  #sight;
  #on;

  /**
   * @param {string} name for assistive technology
   * @param {{way: (way: string) => void, change: (column: Column) => void, open: (shown: object) => void}} on what to
   *   call: another order was chosen; other products are shown; one of them shall be explained
   */
  constructor(name, on) {
    this.#on = on;
    this.ids = [];
    this.said = '';
    this.#select = element(
      'select',
      { 'aria-label': `${name}: order`, onchange: () => on.way(this.#select.value) },
      ...Object.entries(WAYS).map(([way, { title }]) => element('option', { value: way }, title)),
    );
    this.list = element('ol', { class: 'cards', 'aria-label': name });
    this.root = element(
      'section',
      { class: 'column', 'aria-label': name },
      element('header', { class: 'column-head' }, span('select', this.#select), this.#notes),
      this.list,
      this.#end,
    );
    this.#sight = new IntersectionObserver((seen) => seen.at(-1).isIntersecting && this.more(), { rootMargin: '600px' });
    this.#sight.observe(this.#end);
  }

  /** Let these releases be chosen as well. */
  offer(releases) {
    const chosen = this.#select.value;
    const options = releases.map((each) => element('option', { value: wayOf(each) }, `Release ${each}`));
    this.#releases.replaceChildren(...options);
    if (options.length) this.#select.append(this.#releases);
    else this.#releases.remove();
    this.#select.value = chosen;
  }

  /** Show a container's products from the first on. Resolves once they are shown, or why they aren't. */
  async load(query, known) {
    this.#query = query;
    this.#known = known;
    this.#select.value = query.way;
    this.#cursor = null;
    await this.#fetch(null);
  }

  /** Show the products that follow. */
  async more() {
    if (this.#cursor !== null && this.#under === null) await this.#fetch(this.#cursor);
  }

  /** Stop what is under way, and show nothing. */
  clear() {
    this.#under?.abort();
    this.#under = null;
    this.#cursor = null;
    this.ids = [];
    this.said = '';
    this.#notes.replaceChildren();
    this.list.replaceChildren();
    this.#more.hidden = true;
  }

  /** Say on each card how it moved; null takes that away. */
  mark(moves, side) {
    for (const item of this.list.children) {
      const id = item.dataset.id;
      const right = moves && side === 'right';
      mark(item, {
        places: right ? moves.places.get(id) : undefined,
        added: Boolean(right && moves.added.has(id)),
        gone: Boolean(moves && side === 'left' && moves.gone.has(id)),
      });
    }
  }

  async #fetch(cursor) {
    this.#under?.abort();
    const under = (this.#under = new AbortController());
    this.list.setAttribute('aria-busy', 'true');
    this.#more.disabled = true;
    try {
      const query = { ...this.#query, cursor };
      const { body, timing } = await page(query, under.signal);
      const ids = body.product_ids.map(String);
      const [products, explained] = await Promise.all([
        describe(ids, under.signal),
        explain(query, body.source, this.#known, under.signal),
      ]);
      if (under.signal.aborted) return;
      this.#cursor = body.next_cursor ?? null;
      this.#tell(body, timing);
      this.#show(ids, products, explained, cursor !== null);
      this.said = `${several(this.ids.length, 'product')}, ${madeBy(body.source, body.release).toLowerCase()}`;
    } catch (error) {
      if (error.name === 'AbortError') return;
      if (!(error instanceof Problem)) throw error;
      this.#fail(error, cursor);
    } finally {
      if (this.#under === under) {
        this.#under = null;
        this.list.removeAttribute('aria-busy');
        this.#more.disabled = false;
        this.#more.hidden = this.#cursor === null;
        this.#sight.unobserve(this.#end); // it tells of changes alone, and the end may still be in sight
        this.#sight.observe(this.#end);
        this.#on.change(this);
      }
    }
  }

  #show(ids, products, explained, append) {
    const before = append ? null : positions(this.list);
    const shown = append ? new Set(this.ids) : new Set();
    const fresh = ids.filter((id) => !shown.has(id));
    const cards = fresh.map((id, at) =>
      card({ id, rank: shown.size + at + 1, product: products.get(id), explanation: explained.get(id) }, this.#on.open),
    );
    if (append) this.list.append(...cards);
    else this.list.replaceChildren(...cards);
    this.ids = append ? [...this.ids, ...fresh] : fresh;
    if (before) glide(this.list, before);
    if (!this.ids.length) this.list.replaceChildren(element('li', { class: 'nothing' }, 'This container is empty.'));
  }

  #tell(body, timing) {
    const source = span(`source ${body.source}`, madeBy(body.source, body.release));
    const reasons = body.degraded_reasons ?? [];
    this.#notes.replaceChildren(element('div', { class: 'made' }, source, timingBar(timing)));
    if (reasons.length) {
      const notice = element('p', { class: 'notice degraded' }, element('b', {}, 'Degraded. '), reasons.map(because).join(' '));
      this.#notes.append(notice);
    }
    const instead = this.#query.way === 'precomputed' && body.source === 'popularity';
    if (instead) this.#notes.append(element('p', { class: 'notice' }, 'No precomputed list for this: by popularity instead.'));
  }

  #fail(problem, cursor) {
    this.said = problem.message;
    const over = cursor !== null && OVER.includes(problem.status);
    const retry = () => this.#fetch(over ? null : cursor);
    const again = element('button', { type: 'button', class: 'again', onclick: retry }, over ? 'From the start' : 'Try again');
    const notice = element('p', { class: 'notice failed', role: 'alert' }, element('b', {}, problem.message), ' ', again);
    if (cursor !== null) {
      this.#cursor = null; // not by itself for ever
      this.#notes.append(notice);
      return;
    }
    this.#notes.replaceChildren(notice);
    this.list.replaceChildren();
    this.ids = [];
  }
}
