// Numbers that look random and are the same in each run.

/** `CATAMARAN_SEED` runs the generated tests with other numbers. */
export const SEED = Number(process.env.CATAMARAN_SEED ?? 12)

/** The generator mulberry32. */
export class Random {
  constructor(seed) {
    this.state = seed >>> 0
  }

  /** A number from 0 up to this one, without it. */
  below(limit) {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }

  one(list) {
    return list[this.below(list.length)]
  }

  /** A text of up to this many of these. */
  text(characters, length) {
    return Array.from({ length: this.below(length + 1) }, () => this.one(characters)).join('')
  }
}
