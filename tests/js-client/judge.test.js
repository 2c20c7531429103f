// The judge of the cluster tests finds what is wrong.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Written, judge } = require('./judge.js');

/** What is found where pages heard this of a channel, of the numbers of two writers: `a1 b1 gap`. */
function found(a, b, ...heard) {
  const written = new Written();
  written.of('room', 'a').push(...a);
  written.of('room', 'b').push(...b);
  const pages = heard.map((words) => {
    const all = words.split(' ').filter(Boolean).map((word) => (word === 'gap' ? word : [word[0], Number(word.slice(1))]));
    return { channels: ['room'], of: () => all };
  });
  const { lost, told, doubled, disordered, afterLocal, contradictory, unknownHeard, unknownMissed } = judge(pages, written);
  const words = (all) => all.map(([writer, number]) => `${writer}${number}`).join(' ');
  return { lost: words(lost), told, doubled: words(doubled), disordered: words(disordered), afterLocal, contradictory, unknownHeard, unknownMissed };
}

const NOTHING = { lost: '', told: 0, doubled: '', disordered: '', afterLocal: 0, contradictory: 0, unknownHeard: 0, unknownMissed: 0 };
const D = 'delivered';

test('all in one order is right, and so is what is told', () => {
  assert.deepEqual(found([D, D, D], [D], 'a1 b1 a2 a3', 'a1 b1 a2 a3'), NOTHING);
  assert.deepEqual(found([D, D, D], [D], 'a1 gap b1 a3', 'a1 b1 a3 gap'), { ...NOTHING, told: 2 });
  assert.deepEqual(found([D, D], [D, D], 'gap'), { ...NOTHING, told: 4 });
});

test('what is missing is lost: first, between, last, and after the gap', () => {
  assert.deepEqual(found([D, D, D], [D], 'a2 b1 a3'), { ...NOTHING, lost: 'a1' });
  assert.deepEqual(found([D, D, D], [D], 'a1 b1 a3'), { ...NOTHING, lost: 'a2' });
  assert.deepEqual(found([D, D, D], [D], 'a1 b1 a2'), { ...NOTHING, lost: 'a3' });
  assert.deepEqual(found([D, D, D], [D], 'a1 a2 a3'), { ...NOTHING, lost: 'b1' });
  assert.deepEqual(found([D, D, D], [D], 'a1 gap a2 b1'), { ...NOTHING, lost: 'a3' });
});

test('what comes twice, too late or otherwise than elsewhere is found', () => {
  assert.deepEqual(found([D, D], [], 'a1 a2 a2'), { ...NOTHING, doubled: 'a2' });
  assert.deepEqual(found([D, D], [], 'a1 gap a1 a2'), { ...NOTHING, doubled: 'a1' });
  assert.deepEqual(found([D, D], [], 'a2 gap a1'), { ...NOTHING, disordered: 'a1' });
  assert.deepEqual(found([D], [D], 'a1 b1', 'b1 a1'), { ...NOTHING, contradictory: 2 });
  assert.deepEqual(found([D], [D], 'a1 gap b1', 'b1 a1'), NOTHING);
});

test('what is unknown may come, once, or not', () => {
  assert.deepEqual(found(['unknown', D], [], 'a2', 'a1 a2'), { ...NOTHING, unknownHeard: 1, unknownMissed: 1 });
  assert.deepEqual(found(['unknown', D], [], 'a1 a1 a2').doubled, 'a1');
});

test('what was delivered on one server alone may come before what was counted earlier', () => {
  assert.deepEqual(found([D, 'local', D], [], 'a2 a1 a3'), { ...NOTHING, afterLocal: 1 });
  assert.deepEqual(found([D, 'local', D], [], 'a3 gap a2'), { ...NOTHING, told: 1, disordered: 'a2' });
});
