package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
)

// lines writes samples and payloads, one a line, as JSON or CSV. What it needs is
// used again from one line to the next: history is read at the speed of writing.
type lines struct {
	csv, tags bool
	terminal  bool   // rows go to one
	b         []byte // the line
	stamp     []byte // the time of the line before, formatted
	stamped   int64
}

func newLines(o *openOptions, stdout io.Writer) lines {
	return lines{csv: o.format == "csv", tags: o.tags, terminal: isTerminal(stdout)}
}

// line is one sample or one payload. Its JSON, in this order, is the contract;
// what is empty is left out, but for the names, "sealed", "sequence" and "proof".
type line struct {
	time    int64
	point   string
	value   envelope.Value
	unit    string
	text    string // what the number of an enumeration means
	quality uint32 // OPC UA status code; 0: good
	payload []byte // what the device encrypted
	content string // its content type
	tags    map[string]string
}

const csvHeader = "time,gateway,machine,point,level,value,unit,text,quality,payload,content_type,sealed,sequence,proof\r\n"

// header begins the output.
func (w *lines) header(out *bufio.Writer) (err error) {
	if w.csv {
		_, err = out.WriteString(csvHeader)
	}
	return err
}

// delivery writes what the delivery holds, and gives the number of lines. A
// catalogue is none: what it says stands in the lines of its points.
func (w *lines) delivery(out *bufio.Writer, r *envelope.Reader, d *envelope.Delivery) (n int, err error) {
	if d.Kind == envelope.Passthrough {
		l := line{time: d.Time, point: d.Point, payload: d.Payload, content: d.ContentType}
		if e, ok := r.Entry(d.Stream, d.Point); ok {
			l.point = e.Name // the address may have an id in its place
			l.describe(w, &e)
		}
		return 1, w.line(out, d, &l)
	}
	for i := range d.Samples {
		s := &d.Samples[i]
		l := line{time: s.Time, point: s.Name, unit: s.Unit, value: s.Value, quality: s.Quality}
		if e, ok := r.Entry(d.Stream, s.Name); ok {
			l.describe(w, &e)
		}
		if err := w.line(out, d, &l); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// describe adds what the catalogue says of the point.
func (l *line) describe(w *lines, e *envelope.Entry) {
	if l.unit == "" {
		l.unit = e.Unit
	}
	if k := l.value.Kind(); k == envelope.Int || k == envelope.Uint && l.value.Uint() <= 1<<63-1 {
		l.text = e.Texts[l.value.Int()]
	}
	if w.tags {
		l.tags = e.Tags
	}
}

func (w *lines) line(out *bufio.Writer, d *envelope.Delivery, l *line) error {
	if l.time != w.stamped || w.stamp == nil {
		w.stamped, w.stamp = l.time, time.Unix(0, l.time).UTC().AppendFormat(w.stamp[:0], time.RFC3339Nano)
	}
	w.b = w.b[:0]
	if w.csv {
		w.row(d, l)
	} else if err := w.object(d, l); err != nil {
		return err
	}
	if out.Available() < len(w.b) { // who is killed leaves whole lines behind
		if err := out.Flush(); err != nil {
			return err
		}
	}
	_, err := out.Write(w.b)
	return err
}

func (w *lines) object(d *envelope.Delivery, l *line) error {
	w.b = append(append(append(w.b, `{"time":"`...), w.stamp...), '"')
	w.field("gateway", d.Stream.Gateway)
	w.field("machine", d.Stream.Machine)
	w.field("point", l.point)
	w.field("level", d.Stream.Level)
	if l.value.Kind() != envelope.NoValue {
		w.b = append(w.b, `,"value":`...)
		if err := w.value(l.value); err != nil {
			return err
		}
	}
	for _, f := range [...]struct{ key, value string }{{"unit", l.unit}, {"text", l.text}} {
		if f.value != "" {
			w.field(f.key, f.value)
		}
	}
	if l.quality != 0 {
		w.b = fmt.Appendf(w.b, `,"quality":"0x%08X"`, l.quality)
	}
	if len(l.payload) > 0 {
		w.b = append(base64.StdEncoding.AppendEncode(append(w.b, `,"payload":"`...), l.payload), '"')
	}
	if l.content != "" {
		w.field("content_type", l.content)
	}
	if len(l.tags) > 0 {
		tags, err := marshal(l.tags)
		if err != nil {
			return err
		}
		w.b = append(append(w.b, `,"tags":`...), tags...)
	}
	w.b = strconv.AppendBool(append(w.b, `,"sealed":`...), d.Sealed)
	w.b = strconv.AppendUint(append(w.b, `,"sequence":`...), d.Sequence, 10)
	w.b = append(append(append(w.b, `,"proof":"`...), d.Proof.String()...), "\"}\n"...)
	return nil
}

func (w *lines) field(key, value string) {
	w.b = append(append(append(w.b, `,"`...), key...), `":`...)
	w.text(value)
}

// text appends a JSON string.
func (w *lines) text(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			b, err := marshal(s)
			if err == nil { // as it is for every text
				w.b = append(w.b, b...)
			}
			return
		}
	}
	w.b = append(append(append(w.b, '"'), s...), '"')
}

// plain escapes what a terminal may take for a command and JSON need not escape:
// DEL, the control characters behind it, and what has no form of its own, such as
// what turns the direction of writing. The text is the same.
func plain(b []byte) []byte {
	if bytes.IndexFunc(b, hidden) < 0 {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for _, c := range string(b) { // encoding/json leaves nothing that is no UTF-8
		switch high, low := utf16.EncodeRune(c); {
		case !hidden(c):
			out = utf8.AppendRune(out, c)
		case high != utf8.RuneError:
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, c)
		}
	}
	return out
}

func hidden(c rune) bool { return c >= 0x7f && (c <= 0x9f || unicode.Is(unicode.Cf, c)) }

// marshal gives JSON without the escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return plain(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), err
}

func (w *lines) value(v envelope.Value) error {
	switch v.Kind() {
	case envelope.Int:
		w.b = strconv.AppendInt(w.b, v.Int(), 10)
	case envelope.Uint:
		w.b = strconv.AppendUint(w.b, v.Uint(), 10)
	case envelope.Bool:
		w.b = strconv.AppendBool(w.b, v.Bool())
	default:
		b, err := v.MarshalJSON()
		if err != nil {
			return err
		}
		w.b = append(w.b, plain(b)...)
	}
	return nil
}

// row appends the same as RFC 4180 has it. What a device said as text is in
// quotes, whatever is in it, and everything else is not, so that 17 and "17" are
// told apart. Nothing is changed: see docs/open.md on spreadsheets. But for a
// terminal, which takes some texts for commands: there they are escaped.
func (w *lines) row(d *envelope.Delivery, l *line) {
	w.b = append(w.b, w.stamp...)
	for _, s := range [...]string{d.Stream.Gateway, d.Stream.Machine, l.point, d.Stream.Level} {
		w.cell(s)
	}
	w.b = append(w.b, ',')
	switch v := l.value; v.Kind() {
	case envelope.NoValue:
	case envelope.Text:
		w.quoted(w.shown(string(v.Data())))
	case envelope.Bytes:
		w.b = base64.StdEncoding.AppendEncode(w.b, v.Data())
	default:
		b, err := v.MarshalJSON()
		if err == nil { // numbers, times and words
			w.b = append(w.b, bytes.Trim(b, `"`)...)
		}
	}
	w.cell(l.unit)
	w.cell(l.text)
	w.b = append(w.b, ',')
	if l.quality != 0 {
		w.b = fmt.Appendf(w.b, "0x%08X", l.quality)
	}
	w.b = base64.StdEncoding.AppendEncode(append(w.b, ','), l.payload)
	w.cell(l.content)
	w.b = strconv.AppendBool(append(w.b, ','), d.Sealed)
	w.b = strconv.AppendUint(append(w.b, ','), d.Sequence, 10)
	w.b = append(append(append(w.b, ','), d.Proof.String()...), "\r\n"...)
}

// cell appends a comma and a field, in quotes where it needs them.
func (w *lines) cell(s string) {
	w.b = append(w.b, ',')
	s = w.shown(s)
	if strings.ContainsAny(s, "\",\r\n") || strings.TrimSpace(s) != s {
		w.quoted(s)
		return
	}
	w.b = append(w.b, s...)
}

func (w *lines) shown(s string) string {
	if w.terminal {
		return configs.Plain(s)
	}
	return s
}

func (w *lines) quoted(s string) {
	w.b = append(append(append(w.b, '"'), strings.ReplaceAll(s, `"`, `""`)...), '"')
}
