// Asks the adapter. Addresses are relative to the page, so that a proxy may serve all of it below a prefix.

import { releaseOf } from './words.js';

const ROUTE = '/v1/containers/{container_id}/products';
const MOST_DESCRIBED = 100;

/** An answer that is an error, as a problem document (RFC 9457) or as the network tells it. */
export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** JSON, with whole numbers beyond 2^53 as text: ids are INT64, and none may become another. */
export function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? '')
      ? context.source
      : value,
  );
}

async function ask(path, parameters = {}, signal = undefined) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
  }
  let answer;
  let text;
  try {
    answer = await fetch(url, { signal, headers: { accept: 'application/json' } });
    text = await answer.text();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem('The adapter can’t be reached.');
  }
  let body;
  try {
    body = parse(text);
  } catch {
    throw new Problem(`The adapter answered ${answer.status} with something that isn’t JSON.`, answer.status);
  }
  if (!answer.ok) throw new Problem(body.detail ?? body.title ?? `The adapter answered ${answer.status}.`, answer.status);
  return { body, timing: timing(answer.headers.get('server-timing') ?? '') };
}

/**
 * Stages of a `Server-Timing` header.
 * @returns {Object<string, number>} milliseconds by name
 */
export function timing(header) {
  const stages = {};
  for (const part of header.split(',')) {
    const found = /^\s*([\w-]+)\s*;\s*dur=([\d.]+)/.exec(part);
    if (found) stages[found[1]] = Number(found[2]);
  }
  return stages;
}

/** Which optional parameters the products route takes, told by the OpenAPI document. */
export async function features() {
  try {
    const { body } = await ask('openapi.json');
    return new Set(body.paths[ROUTE].get.parameters.map((parameter) => parameter.name));
  } catch {
    return new Set();
  }
}

/** Which releases have traffic; null where the adapter doesn't say. */
export async function releases() {
  try {
    return (await ask('v1/releases')).body;
  } catch {
    return null;
  }
}

/** All containers, in display order. */
export async function containers() {
  return (await ask('v1/containers')).body.containers;
}

/**
 * One page of products, as a shop gets it.
 * @param {{container: string, customer: string, way: string, limit: number, cursor?: string, explain?: boolean}} query
 */
export async function page({ container, customer, way, limit, cursor, explain = false }, signal) {
  const own = way !== 'anonymous' && way !== 'popularity';
  const parameters = { customer_id: own ? customer : null, limit, cursor, explain: explain ? 'true' : null, release: releaseOf(way) };
  const path = `v1/containers/${encodeURIComponent(container)}/${isRanked(way) ? 'products' : 'precomputed'}`;
  return ask(path, parameters, signal);
}

const isRanked = (way) => way !== 'precomputed' && way !== 'popularity';

/**
 * Why the products of a page stand where they stand. It is asked for beside the page, because an explained answer has
 * more time than a shop gives: the page's stage times shall be a shop's.
 * @param {object} query as of `page`
 * @param {string} source of the page; explanations of another order would explain nothing
 * @param {Set<string>} known parameters that the route takes
 * @returns {Promise<Map<string, object>>} by product id; empty where there are none
 */
export async function explain(query, source, known, signal) {
  if (!known.has('explain') || !isRanked(query.way) || query.cursor) return new Map(); // only first pages can be explained
  try {
    const { body } = await page({ ...query, explain: true }, signal);
    if (body.source !== source) return new Map();
    return new Map((body.explanations ?? []).map((each) => [String(each.product_id), each]));
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    return new Map();
  }
}

const described = new Map();
const KEPT = 5_000;

/**
 * Details by product id, as far as they can be had: a page without them is better than none.
 * @param {string[]} ids
 * @returns {Promise<Map<string, object>>}
 */
export async function describe(ids, signal) {
  const missing = ids.filter((id) => !described.has(id));
  if (described.size + missing.length > KEPT) described.clear();
  const wanted = described.size ? missing : ids; // all of them where they have just been forgotten
  for (let at = 0; at < wanted.length; at += MOST_DESCRIBED) {
    const some = wanted.slice(at, at + MOST_DESCRIBED);
    try {
      const { body } = await ask('v1/products', { ids: some.join(',') }, signal);
      for (const product of body.products) described.set(String(product.product_id), product);
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      break;
    }
  }
  return new Map(ids.filter((id) => described.has(id)).map((id) => [id, described.get(id)]));
}
