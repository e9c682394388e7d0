package configs

// Basics is what a command needs to know of a gateway before its policy and its
// trust file can be in order: which state folder it has, and what unlocks it.
type Basics struct {
	Gateway    string
	State      string
	Credential string
}

// LoadBasics reads them from the gateway file alone; nil, and what is wrong,
// where it cannot. What else stands in the file is not looked at.
func LoadBasics(path string) (*Basics, []Problem) {
	l := &loader{}
	d := l.open(path)
	m, _, ok := d.top("gateway")
	if !ok {
		return nil, sorted(l.problems)
	}
	b := &Basics{}
	b.Gateway, _ = m.need("gateway", "write gateway: NAME, which is visible upstream").ident()
	if s, ok := m.need("state", "write state: /var/lib/fieldseal").text(); ok {
		b.State = d.f.beside(s)
	}
	b.Credential = keystore(m.need("keystore", "write keystore: {unlock: \"credential:keystore\"}")).Credential
	if len(l.problems) > 0 {
		return nil, sorted(l.problems)
	}
	return b, nil
}
