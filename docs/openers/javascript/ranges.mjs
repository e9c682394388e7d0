// Sets of numbers, and places in sorted lists.

/** A set of numbers, as ranges in order. */
export class Ranges {
  list = []

  add(a, b = a) {
    let i = this.list.length // new numbers mostly come at the end
    while (i > 0 && this.list[i - 1][1] + 1n >= a) i--
    let j = i
    for (; j < this.list.length && this.list[j][0] <= b + 1n; j++) {
      if (this.list[j][0] < a) a = this.list[j][0]
      if (this.list[j][1] > b) b = this.list[j][1]
    }
    this.list.splice(i, j - i, [a, b])
  }

  has(n) {
    const i = first(this.list, r => r[1] >= n)
    return i < this.list.length && this.list[i][0] <= n
  }

  get last() { return this.list.at(-1)?.[1] ?? 0n }

  missing(a, b) {
    const out = []
    for (const [x, y] of this.list) {
      if (a > b || x > b) break
      if (x > a) out.push([a, x - 1n])
      if (y >= a) a = y + 1n
    }
    return a <= b ? [...out, [a, b]] : out
  }
}

/** The first place in a sorted list for which is() holds. */
export function first(list, is) {
  let a = 0, b = list.length
  while (a < b) {
    const i = (a + b) >> 1
    if (is(list[i])) b = i
    else a = i + 1
  }
  return a
}
