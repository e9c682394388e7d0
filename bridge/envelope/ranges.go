package envelope

import (
	"slices"
	"sort"
)

// Range is the numbers First … Last, both included.
type Range struct{ First, Last uint64 }

// ranges is an exact set of numbers: sorted, apart from one another by at least
// one number.
type ranges []Range

// find gives the place of the first range that does not end before n.
func (r ranges) find(n uint64) int {
	if k := len(r); k == 0 || r[k-1].Last < n {
		return k
	} else if r[k-1].First <= n {
		return k - 1
	}
	return sort.Search(len(r), func(i int) bool { return r[i].Last >= n })
}

func (r ranges) has(n uint64) bool {
	i := r.find(n)
	return i < len(r) && r[i].First <= n
}

// collapse makes one range of 1 … through.
func (r *ranges) collapse(through uint64) {
	if len(*r) > 0 && (*r)[0].First <= through {
		r.add(1, through)
		*r = slices.Clip(slices.Clone(*r))
	}
}

// count gives how many numbers there are.
func count(all []Range) (n uint64) {
	for _, x := range all {
		n += x.Last - x.First + 1
	}
	return n
}

// touches tells whether any of first … last is in the set.
func (r ranges) touches(first, last uint64) bool {
	i := r.find(first)
	return i < len(r) && r[i].First <= last
}

// add puts first … last into the set.
func (r *ranges) add(first, last uint64) {
	from := first
	if from > 0 {
		from-- // a range that ends right before is joined
	}
	i := r.find(from)
	j := i
	for ; j < len(*r) && ((*r)[j].First <= last || (*r)[j].First == last+1); j++ {
		first, last = min(first, (*r)[j].First), max(last, (*r)[j].Last)
	}
	if j == i+1 {
		(*r)[i] = Range{first, last}
		return
	}
	*r = slices.Replace(*r, i, j, Range{first, last})
}

// missing gives what first … last has and the set has not.
func (r ranges) missing(first, last uint64) (out []Range) {
	for _, x := range r[r.find(first):] {
		if x.First > last || first > last {
			break
		}
		if x.First > first {
			out = append(out, Range{first, x.First - 1})
		}
		if x.Last == ^uint64(0) {
			return out
		}
		first = x.Last + 1
	}
	if first <= last {
		out = append(out, Range{first, last})
	}
	return out
}

// last is the greatest number in the set, 0 if it is empty.
func (r ranges) last() uint64 {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1].Last
}
