"""Sets of numbers."""

from bisect import bisect_left


class Ranges:
    """A set of numbers, as ranges in order."""

    def __init__(self):
        self.list = []

    def add(self, a, b=None):
        b = a if b is None else b
        i = len(self.list)  # new numbers mostly come at the end
        while i > 0 and self.list[i - 1][1] + 1 >= a:
            i -= 1
        j = i
        while j < len(self.list) and self.list[j][0] <= b + 1:
            a, b = min(a, self.list[j][0]), max(b, self.list[j][1])
            j += 1
        self.list[i:j] = [(a, b)]

    def __contains__(self, n):
        i = bisect_left(self.list, n, key=lambda r: r[1])
        return i < len(self.list) and self.list[i][0] <= n

    def last(self):
        return self.list[-1][1] if self.list else 0

    def missing(self, a, b):
        out = []
        for x, y in self.list:
            if a > b or x > b:
                break
            if x > a:
                out.append([a, x - 1])
            a = max(a, y + 1)
        return out + [[a, b]] if a <= b else out
