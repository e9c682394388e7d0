package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/fieldseal/fieldseal/configs"
)

// How check prints what it found.
const (
	formatText   = "text"
	formatJSON   = "json"   // an array of problems, see docs/check.md
	formatGitHub = "github" // annotations of a GitHub workflow
)

// found is a problem, with what shows only once a machine was asked.
type found struct {
	configs.Problem
	Point string `json:"point,omitempty"` // that it is about
	Down  bool   `json:"down,omitempty"`  // the machine gives no connection
}

func asFound(problems []configs.Problem) []found {
	all := make([]found, 0, len(problems))
	for _, p := range problems {
		all = append(all, found{Problem: p})
	}
	return all
}

// reportAs prints problems in one of the formats.
func reportAs(w io.Writer, problems []found, format string) error {
	switch format {
	case formatJSON:
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(problems)
	case formatGitHub:
		for i := range problems {
			if _, err := fmt.Fprintln(w, annotation(&problems[i])); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range problems {
		if _, err := fmt.Fprintln(w, p.String()); err != nil {
			return err
		}
	}
	return nil
}

// annotation writes a problem as a command of a GitHub workflow.
func annotation(p *found) string {
	command, title := "error", "fieldseal check"
	switch {
	case p.Note:
		command = "notice"
	case p.Down:
		title += ": " + p.Machine + " is down"
	case p.Point != "":
		title += ": " + p.Machine + "/" + p.Point + " is not read"
	case p.Stops:
		title += ": points stop"
	case p.Machine != "":
		title += ": " + p.Machine + " is left out"
	}
	properties := []string{"file=" + property(p.File)}
	if p.Line > 0 {
		properties = append(properties, fmt.Sprintf("line=%d,col=%d", p.Line, p.Column))
	}
	properties = append(properties, "title="+property(title))
	text := p.What
	if p.Instead != "" {
		text += "; " + p.Instead
	}
	return "::" + command + " " + strings.Join(properties, ",") + "::" + message(text)
}

// message escapes what ends a command, or begins another.
func message(s string) string {
	return configs.Plain(strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s))
}

// property escapes what ends a property too.
func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(message(s))
}
