package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// approvers signs the next set of approvers.
func (s *signing) approvers(file, was, config string) error {
	set, err := readSet(file)
	if err != nil {
		return noLook(err)
	}
	before, whence, err := inForce(was, config)
	if err != nil {
		return noLook(err)
	}
	note, err := readIf(file + configs.SignatureSuffix)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "From now on policy and trust file take the signatures of %s (approvers, revision %d):\n", signers(set), set.Revision)
	if before == nil {
		if err := approval.CheckRevision(0, set.Revision); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, a := range set.Approvers {
			fmt.Fprintf(s.out, " ! %s may sign: %s\n", a.Name, a.Key)
		}
		fmt.Fprintf(s.out, " ! the set in force is not known here (name it with --was FILE), so nothing can be compared:\n"+
			"   this signature counts only if %s is one of that set\n\n", s.secret.Name())
	} else {
		if err := s.follows(set, *before); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Fprintf(s.out, "   what changes against revision %d, %s (%s)\n", before.Revision, signers(*before), whence)
		printChanges(s.out, approval.DiffSets(*before, set))
		fmt.Fprintln(s.out)
	}
	signed, err := approval.Sign(note, set.Text(), s.secret)
	if err != nil {
		return err
	}
	return s.finish([]toWrite{{path: file, content: signed}})
}

// follows tells why a set cannot follow the one in force with this signature.
func (s *signing) follows(next, before approval.Set) error {
	if !slices.ContainsFunc(before.Approvers, func(a approval.Approver) bool { return a.Key == s.secret.Public() }) {
		return fmt.Errorf("the key of %s is none of those in force (%s), so that the signature would not count; %s can sign", s.secret.Name(), signers(before), list(before.Names()))
	}
	if next.Revision <= before.Revision {
		return fmt.Errorf("revision %d is not above revision %d, which is in force; write revision %d", next.Revision, before.Revision, before.Revision+1)
	}
	return approval.CheckRevision(before.Revision, next.Revision)
}

// inForce gives the set that is in force, and how that is known: from a file, or
// from the state folder of a gateway file that is here. Nil where it is not.
func inForce(was, config string) (set *approval.Set, whence string, err error) {
	if was != "" {
		set, err := readSet(was)
		return &set, was, err
	}
	where, _ := configs.LoadBasics(config)
	if where == nil {
		return nil, "", nil
	}
	store, err := approval.Open(where.State)
	if err != nil { // as on the approver's own machine
		return nil, "", nil //nolint:nilerr // the set is not known then, and that is said
	}
	pinned := store.Set()
	return &pinned, "pinned in " + where.State, nil
}

// readSet reads a set that people may have written, in any order.
func readSet(file string) (approval.Set, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return approval.Set{}, err
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(b), "\r", "")), "\n")
	if len(lines) > 3 {
		slices.Sort(lines[3:])
	}
	set, err := approval.ParseSet([]byte(strings.Join(lines, "\n") + "\n"))
	if err != nil {
		return approval.Set{}, fmt.Errorf("%s: %w", file, err)
	}
	return set, nil
}
