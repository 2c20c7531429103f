// What the pages of a cluster heard, held against what was written: what is missing, doubled, or in another order.

/** What a page writes down where it hears that it may have missed something. */
const GAP = 'gap';

/** What was written: what became of each number, by channel and writer; nobody knows of those that are not there. */
class Written {
  constructor() {
    this.outcomes = new Map();
  }

  /** The outcomes of a writer's numbers in a channel, from 1. */
  of(channel, writer) {
    if (!this.outcomes.has(channel)) this.outcomes.set(channel, new Map());
    const writers = this.outcomes.get(channel);
    if (!writers.has(writer)) writers.set(writer, []);
    return writers.get(writer);
  }

  count(outcome) {
    let count = 0;
    for (const writers of this.outcomes.values()) {
      for (const outcomes of writers.values()) count += outcomes.filter((each) => each === outcome).length;
    }
    return count;
  }
}

/**
 * Holds what a page heard of a channel, `[writer, number]` or a gap, against what was written. A number that may not have been
 * published may be missing, no other without a gap; that may come later than what follows the number, since who hears it
 * reads everything anew. What was delivered on one server alone has no place in the order of the others.
 */
function hold(heard, writers, sums) {
  const lastGap = heard.lastIndexOf(GAP);
  const outcome = (writer, number) => writers.get(writer)?.[number - 1];
  const last = new Map();
  const seen = new Set();
  const missing = [];
  const skipped = (writer, from, to, after) => {
    for (let number = from; number < to; number++) missing.push({ writer, number, after });
  };
  heard.forEach((each, at) => {
    if (each === GAP) return void (sums.gaps += 1);
    const [writer, number] = each;
    const id = `${writer} ${number}`;
    const before = last.get(writer) || { number: 0, counted: 0, at: -1 };
    sums.heard += 1;
    if (seen.has(id)) return void sums.doubled.push(each);
    seen.add(id);
    if (outcome(writer, number) === 'unknown') sums.unknownHeard += 1;
    if (number < before.counted) return void sums.disordered.push([...each, before.counted]);
    if (number < before.number) return void (sums.afterLocal += 1);
    skipped(writer, before.number + 1, number, before.at);
    last.set(writer, { number, counted: outcome(writer, number) === 'local' ? before.counted : number, at });
  });
  for (const [writer, outcomes] of writers) {
    const { number, at } = last.get(writer) || { number: 0, at: -1 };
    skipped(writer, number + 1, outcomes.length + 1, at);
  }
  for (const { writer, number, after } of missing) {
    if (seen.has(`${writer} ${number}`)) continue;
    if (outcome(writer, number) === 'unknown') sums.unknownMissed += 1;
    else if (lastGap > after) sums.told += 1;
    else sums.lost.push([writer, number]);
  }
}

/** How many numbers of a channel cannot be put in an order that all pages heard, if gaps part what they heard. */
function contradictions(pages, channel) {
  const next = new Map();
  const awaited = new Map();
  const edge = (from, to) => {
    if (!next.has(from)) next.set(from, new Set());
    if (!awaited.has(to)) awaited.set(to, 0);
    if (!awaited.has(from)) awaited.set(from, 0);
    if (from === to || next.get(from).has(to)) return;
    next.get(from).add(to);
    awaited.set(to, awaited.get(to) + 1);
  };
  for (const page of pages) {
    let before = GAP;
    for (const each of page.of(channel)) {
      const id = each === GAP ? GAP : each.join(' ');
      if (before !== GAP && id !== GAP) edge(before, id);
      before = id;
    }
  }
  const free = [...awaited.keys()].filter((id) => awaited.get(id) === 0);
  for (let id; (id = free.pop()) !== undefined;) {
    awaited.delete(id);
    for (const to of next.get(id) || []) {
      awaited.set(to, awaited.get(to) - 1);
      if (awaited.get(to) === 0) free.push(to);
    }
  }
  return awaited.size;
}

/** The sums over all pages, of the channels that each is in. */
function judge(pages, written) {
  const sums = { heard: 0, lost: [], told: 0, doubled: [], disordered: [], afterLocal: 0, contradictory: 0, gaps: 0, unknownHeard: 0, unknownMissed: 0 };
  for (const page of pages) {
    for (const channel of page.channels) hold(page.of(channel), written.outcomes.get(channel) || new Map(), sums);
  }
  for (const channel of written.outcomes.keys()) sums.contradictory += contradictions(pages, channel);
  return sums;
}

module.exports = { GAP, Written, judge };
