package configs

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
)

// expand reads a file about many machines of one template. What is wrong with
// all of them leaves out all.
func (l *loader) expand(m *mapping, like *machineReader) (readers []*machineReader) {
	wrong := *m.f.wrong
	base := m.need("template", "write template: NAME@VERSION")
	forEach, rows := m.get("for_each"), m.get("rows")
	name := m.need("machine", "write machine: \"NAME-{n:02}\"")
	about, tags, label, poll := m.get("about"), m.get("tags"), m.get("sensitivity"), m.get("poll")
	modbus, opcua, coap, override := m.get("modbus"), m.get("opcua"), m.get("coap"), m.get("override")
	m.done()
	var runs []variables
	switch {
	case forEach.present() && rows.present():
		rows.wrong("'for_each' and 'rows' are there both", "write one of them")
	case forEach.present():
		runs = forEach.runs(true)
	case rows.present():
		runs = l.rows(rows)
	default:
		m.missing("for_each", "write for_each: {n: 1..40}, or rows: FILE.csv")
	}
	t := l.find(base)
	overrides := override.mapping()
	if (t == nil || len(runs) == 0) && !l.alone || *m.f.wrong > wrong || !name.present() {
		return nil
	}
	names := map[string]bool{}
	for _, v := range runs {
		named, nameOK := name.with(v, true)
		aboutNow, aboutOK := about.with(v, true)
		tagsNow, tagsOK := tags.with(v, true)
		modbusNow, modbusOK := modbus.with(v, false)
		opcuaNow, opcuaOK := opcua.with(v, false)
		coapNow, coapOK := coap.with(v, false)
		if !nameOK || !aboutOK || !tagsOK || !modbusOK || !opcuaOK || !coapOK {
			return nil
		}
		s, ok := named.ident()
		if !ok {
			return nil
		}
		if names[s] {
			name.wrong("there are two machines "+quote(s), "write a name with "+v.example("")+" in it")
			return nil
		}
		names[s] = true
		r := &machineReader{l: l, policy: like.policy, trust: like.trust, wrong: new(int), partial: l.alone, places: map[string]map[string]node{}}
		r.m.Name, r.m.File = s, m.f.path
		f := m.f.view(s, r.wrong)
		own := &mapping{node: node{f: f, y: m.y}}
		add := func(key string, n node) {
			if e, ok := m.peek(key); ok && n.present() {
				n.f = f
				own.entries = append(own.entries, entry{e.key, n})
			}
		}
		named.f = f
		r.nameNode = named
		add("about", aboutNow)
		add("tags", tagsNow)
		add("sensitivity", label)
		add("poll", poll)
		add("modbus", modbusNow)
		add("opcua", opcuaNow)
		add("coap", coapNow)
		if e, ok := overrides.peek(s); ok {
			key, _ := m.peek("override")
			e.value.f = f
			own.entries = append(own.entries, entry{key.key, e.value})
		}
		r.m.About, _ = own.get("about").text()
		seen := &mapping{}
		if t != nil {
			seen = t.seenBy(r)
		}
		r.body(own, seen)
		readers = append(readers, r)
	}
	if len(runs) == 0 { // the table is not known
		return nil
	}
	known := slices.Sorted(maps.Keys(names))
	for _, e := range overrides.entries {
		if !names[e.key.Value] {
			node{f: e.value.f, y: e.key}.wrong(unknown("machine", e.key.Value, known))
		}
	}
	if *m.f.wrong > wrong {
		return nil
	}
	return readers
}

// rows reads a table with a line of variables on top.
func (l *loader) rows(n node) (runs []variables) {
	name, ok := n.text()
	if !ok || l.alone {
		return nil
	}
	path := n.f.beside(name)
	b, err := readFile(path)
	if err != nil {
		n.wrong(cannotRead(name, err))
		return nil
	}
	f := &file{path: path, machine: n.f.machine, problems: n.f.problems, wrong: n.f.wrong}
	b = bytes.TrimPrefix(b, []byte("\uFEFF"))
	r := csv.NewReader(bytes.NewReader(b))
	if top, _, _ := bytes.Cut(b, []byte("\n")); bytes.Contains(top, []byte(";")) {
		r.Comma = ';'
	}
	var head []string
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p := Problem{What: "not valid CSV", Instead: "look at quotes and at the number of columns here"}
			if e, ok := errors.AsType[*csv.ParseError](err); ok {
				p.Line, p.Column = e.Line, e.Column
			}
			f.add(p)
			return nil
		}
		wrong := func(column int, what, instead string) {
			line, at := r.FieldPos(column)
			f.add(Problem{Line: line, Column: at, What: what, Instead: instead})
		}
		if head == nil {
			for i, s := range row {
				s = strings.TrimSpace(s)
				if !isName(s) || isDigits(s[:1]) || strings.Contains(s, "-") || slices.Contains(head, s) {
					wrong(i, quote(s)+" is no variable of its own", "write lower case letters and digits in the first line, such as n, each once")
					return nil
				}
				head = append(head, s)
			}
			continue
		}
		v := variables{}
		for i, s := range row {
			if s = strings.TrimSpace(s); s == "" {
				wrong(i, "the value is empty", "write one for each row")
				return nil
			}
			v[head[i]] = s
		}
		if runs = append(runs, v); len(runs) > mostRuns {
			wrong(0, "more than "+itoa(mostRuns)+" rows", "write more files with fewer each")
			return nil
		}
	}
	if len(runs) == 0 {
		f.refuse("no row is below the line of variables", "write one for each machine")
	}
	return runs
}
