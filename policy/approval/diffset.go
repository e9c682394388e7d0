package approval

// DiffSets tells what changes where one set of approvers follows another one.
// More people who can sign are marked as looser, and so are fewer: those who are
// gone cannot refuse any more.
func DiffSets(old, next Set) []Change {
	d := &differ{}
	switch {
	case next.Threshold < old.Threshold:
		d.looser("threshold lowered: it takes %s (was %d)", count(next.Threshold, "signature"), old.Threshold)
	case next.Threshold > old.Threshold:
		d.same("threshold: it takes %s (was %d)", count(next.Threshold, "signature"), old.Threshold)
	}
	before := map[string]string{}
	for _, a := range old.Approvers {
		before[a.Name] = a.Key
	}
	after := map[string]bool{}
	for _, a := range next.Approvers {
		after[a.Name] = true
		switch key, ok := before[a.Name]; {
		case !ok:
			d.looser("%s may sign from now on: %s", a.Name, a.Key)
		case key != a.Key:
			d.looser("%s signs with another key: %s (was %s)", a.Name, a.Key, key)
		default:
			d.same("%s may sign, as before", a.Name)
		}
	}
	for _, a := range old.Approvers {
		if !after[a.Name] {
			d.looser("%s may sign no longer: %s", a.Name, a.Key)
		}
	}
	return d.out
}
