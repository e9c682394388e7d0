package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const leftWidth = 74

// sideBySide prints the newest delivery of each stream of one machine of each
// protocol: at the left what stands at the broker, at the right what the
// recipient reads.
func sideBySide(p *plant, deliveries []envelope.Delivery, w io.Writer) {
	newest := make(map[string]envelope.Delivery)
	shown := []string{p.press.Names()[0], p.mixer.Names()[0]}
	for _, d := range deliveries {
		if k := slices.Index(shown, d.Stream.Machine); k >= 0 && (len(d.Samples) > 0 || len(d.Payload) > 0) {
			newest[fmt.Sprint(k, d.Stream.Level, d.Point)] = d
		}
	}
	if len(newest) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-*s   what %s reads\n", leftWidth, "what the broker stores", recipient)
	keys := make([]string, 0, len(newest))
	for k := range newest {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		d := newest[k]
		fmt.Fprintf(w, "%-*s   %s  [%s]\n", leftWidth, atBroker(p, &d), reads(&d), d.Proof)
	}
}

// atBroker is the newest message of that address, as the broker has it.
func atBroker(p *plant, d *envelope.Delivery) string {
	subject := nats.Subject(prefix, envelope.Address{Stream: d.Stream, Kind: d.Kind, Point: d.Point})
	b, err := p.stored(subject)
	if err != nil {
		return subject + " " + err.Error()
	}
	return fmt.Sprintf("%-32s %4d B  %s…", strings.TrimPrefix(subject, prefix+"."+gatewayName+"."), len(b), printable(b, 32))
}

// printable shows the beginning of bytes: as text where they are, else in hex.
func printable(b []byte, n int) string {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("%x", b[:min(n/2, len(b))])
		}
	}
	return string(b[:min(n, len(b))])
}

func reads(d *envelope.Delivery) string {
	if d.Kind == envelope.Passthrough {
		return fmt.Sprintf("%s: %d B that the device encrypted", d.Point, len(d.Payload))
	}
	var parts []string
	for _, s := range d.Samples[max(0, len(d.Samples)-3):] {
		v, err := s.Value.MarshalJSON()
		if err != nil || s.Quality != 0 {
			v = fmt.Appendf(nil, "quality 0x%08X", s.Quality)
		}
		parts = append(parts, strings.TrimSpace(s.Name+" "+string(v)+" "+s.Unit))
	}
	return strings.Join(parts, ", ")
}
