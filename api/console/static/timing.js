// Stage times against the budget.

import { element, span } from './dom.js';
import { milliseconds } from './words.js';

const STAGES = ['pool', 'queue', 'ensemble'];

/** What a stage's time is a part of, in milliseconds; what no stage counts is `other`. */
function parts(stages) {
  const named = STAGES.map((name) => [name, stages[name] ?? 0]);
  const known = named.reduce((sum, [, took]) => sum + took, 0);
  const total = Math.max(stages.total ?? known, known);
  return { total, segments: [...named, ['other', total - known]] };
}

/** A bar as long as the budget, filled by what each stage took, with the figures in words. */
export function timingBar(stages) {
  const { total, segments } = parts(stages);
  const budget = stages.budget || total || 1;
  const scale = Math.max(budget, total);
  const told = segments.map(([name, took]) => `${name} ${milliseconds(took)}`).join(', ');
  return element(
    'div',
    { class: total > budget ? 'timing late' : 'timing' },
    element(
      'div',
      { class: 'timing-bar', role: 'img', 'aria-label': `${milliseconds(total)} of ${milliseconds(budget)}: ${told}` },
      ...segments.map(([name, took]) =>
        element('i', { class: `stage ${name}`, style: { '--share': `${(100 * took) / scale}%` }, title: `${name} ${milliseconds(took)}` }),
      ),
    ),
    element(
      'p',
      { class: 'timing-words', 'aria-hidden': 'true' },
      element('b', {}, milliseconds(total)),
      ` of ${milliseconds(budget)}`,
      span('legend', ...segments.filter(([, took]) => took >= 0.05).map(([name, took]) => span(`key ${name}`, `${name} ${took.toFixed(1)}`))),
    ),
  );
}
