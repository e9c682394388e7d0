package main

import (
	"reflect"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/configs"
)

// others names what else the files of machines say otherwise: nobody reads more by
// it, and a change must not look as if it were none.
func (d *planDiffer) others(before, next *plan) {
	was := map[string]*configs.Machine{}
	for i := range before.config.Machines {
		m := &before.config.Machines[i]
		was[m.Name] = m
	}
	for i := range next.config.Machines {
		m := &next.config.Machines[i]
		b := was[m.Name]
		if b == nil || !slices.ContainsFunc(next.Machines, func(p planMachine) bool { return p.Machine == m.Name }) {
			continue
		}
		var w differing
		w.look("", reflect.ValueOf(*b), reflect.ValueOf(*m))
		if len(w.paths) > 0 {
			slices.Sort(w.paths)
			d.add(planChange{Kind: changeOther, What: m.Name + ": its file has another " + strings.Join(w.paths, ", ")})
		}
	}
}

// hasWords tells whether a field of a machine's file does not matter by itself,
// as where it stands does not, or has words of its own when it changes: it is in
// the plan, or a fact.
func hasWords(field string) bool {
	switch field {
	case "File", "Where", "Name", "Index",
		"Label", "Address", "Passthrough", "ReadableBy", "Wrap", "Withheld", "Guard", // the policy's
		"At", "Type", "Order", "Bytes", "Bit", "Node", "Namespace", "Path", "Report", "Period",
		"URL", "UnitID", "Listen", "Mode", "Policy", "ServerSHA256", "User", "Credential", "Certificate", "Trust", "Device":
		return true
	}
	return false
}

// differing gathers the fields in which two values of one type differ.
type differing struct{ paths []string }

func (w *differing) look(path string, b, a reflect.Value) {
	switch a.Kind() {
	case reflect.Pointer:
		if !a.IsNil() && !b.IsNil() {
			w.look(path, b.Elem(), a.Elem())
			return
		}
	case reflect.Struct:
		if isOpen(a.Type()) {
			w.fields(path, b, a)
			return
		}
	case reflect.Slice:
		if e := a.Type().Elem(); e.Kind() == reflect.Struct && isOpen(e) && e.Name() == "Point" {
			w.points(path, b, a)
			return
		}
	}
	if !reflect.DeepEqual(b.Interface(), a.Interface()) && !slices.Contains(w.paths, path) {
		w.paths = append(w.paths, path)
	}
}

func (w *differing) fields(path string, b, a reflect.Value) {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if hasWords(f.Name) || f.Name == "Endpoint" && f.Type.Kind() == reflect.String {
			continue
		}
		if f.Name == "ContentType" && a.FieldByName("Passthrough").String() != b.FieldByName("Passthrough").String() {
			continue // it follows
		}
		to := path
		if protocol := f.Name == "Modbus" || f.Name == "OPCUA" || f.Name == "CoAP"; !f.Anonymous && !protocol {
			to = strings.TrimPrefix(path+"."+strings.ToLower(f.Name), ".")
		}
		w.look(to, b.Field(i), a.Field(i))
	}
}

// points compares those that are in both.
func (w *differing) points(path string, b, a reflect.Value) {
	was := map[string]reflect.Value{}
	for i := range b.Len() {
		was[b.Index(i).FieldByName("Name").String()] = b.Index(i)
	}
	for i := range a.Len() {
		if before, ok := was[a.Index(i).FieldByName("Name").String()]; ok {
			w.look(path, before, a.Index(i))
		}
	}
}

// isOpen tells whether all fields of a struct can be looked at.
func isOpen(t reflect.Type) bool {
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			return false
		}
	}
	return true
}
