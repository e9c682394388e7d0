package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// openOptions are the flags of open.
type openOptions struct {
	identities             []string
	trust, approvers       string
	servers                []string
	stream, prefix         string
	cert, key, authorities string
	end, now, stats        bool
}

func openCommand() *cobra.Command {
	var o openOptions
	c := &cobra.Command{
		Use:   "open [FILE|FOLDER…|-]",
		Short: "Open what is meant for you, as JSON lines",
		Long: `Open reads a JetStream stream (--nats), or the segments that a files uplink wrote, or standard input (-).
It verifies every message against the trust file, opens what is sealed for the identities given, and prints
one JSON line for each sample. It changes nothing.

The trust file counts only with the signatures of its approvers beside it. Name them once, with --approvers:
they are remembered in fieldseal/approvals of your configuration folder, and so is the trust file's revision.

A sample is printed when the gateway's signature over it has arrived; with --now at once, marked
"pending". Without a trust file, or approvers to vouch for it, everything is "unverified" and the exit code
is 1. Without an identity only what is clear and passthrough is printed, and the rest is verified.

Exit codes: 0 everything in order (what is sealed for others is), 1 gaps, forgeries, refused messages, a
refused trust file or unverified, 2 could not look.`,
		Example: `  fieldseal open -i historian.identity --trust trust.yaml --nats tls://hub-a.example:4222 --stream PLANT --prefix plant.augsburg \
    --cert historian.pem --key historian.key --ca hub-ca.pem
  fieldseal open -i historian.identity --trust trust.yaml /media/stick`,
		RunE: func(c *cobra.Command, args []string) error {
			return o.open(c.Context(), args, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&o.identities, "identity", "i", nil, "identity file; may be given several times")
	f.StringVar(&o.trust, "trust", "", "trust file: whose signatures count")
	f.StringVar(&o.approvers, "approvers", "", "who has to sign the trust file: what fieldseal policy show --approvers prints on a gateway")
	f.StringSliceVar(&o.servers, "nats", nil, "NATS servers, tls://host:port")
	f.StringVar(&o.stream, "stream", "", "JetStream stream")
	f.StringVar(&o.prefix, "prefix", "", "subject prefix of the gateways, as in their gateway files")
	f.StringVar(&o.cert, "cert", "", "client certificate (PEM)")
	f.StringVar(&o.key, "key", "", "its private key (PEM)")
	f.StringVar(&o.authorities, "ca", "", "authorities that the server's certificate must lead to (PEM)")
	f.BoolVar(&o.end, "end", false, "stop at the message that is the last one now, instead of waiting for more")
	f.BoolVar(&o.now, "now", false, "do not wait for signatures: print at once and mark as pending")
	f.BoolVar(&o.stats, "stats", false, "at the end print a line with ranges, gaps, losses and forgeries of each stream")
	return c
}

func (o *openOptions) open(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	read, err := o.source(args, stdin)
	if err != nil {
		return noLook(err)
	}
	options, err := o.readerOptions(stderr)
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		return err
	} else if err != nil {
		return noLook(err)
	}
	p := &printer{out: bufio.NewWriter(stdout), stderr: stderr, reader: envelope.NewReader(options), refused: make(map[refusedKey]int)}
	if err := read(ctx, p); err != nil && ctx.Err() == nil {
		return noLook(errors.Join(err, p.out.Flush()))
	}
	inOrder, err := p.finish(o.stats)
	switch {
	case err != nil:
		return err
	case !inOrder:
		return &exitError{exitProblems, errors.New("not everything is in order")}
	case o.trust == "":
		return &exitError{exitProblems, errors.New("nothing was verified: give the trust file with --trust")}
	case options.Trust == nil:
		return &exitError{exitProblems, fmt.Errorf("nothing was verified: nobody vouches for %s; name its approvers once with --approvers FILE, which fieldseal policy show --approvers prints on a gateway", o.trust)}
	}
	return nil
}

func (o *openOptions) readerOptions(stderr io.Writer) (envelope.ReaderOptions, error) {
	options := envelope.ReaderOptions{Now: o.now}
	for _, file := range o.identities {
		b, err := os.ReadFile(file)
		if err != nil {
			return options, fmt.Errorf("cannot read the identity: %w", err)
		}
		id, err := envelope.ParseIdentity(b)
		if err != nil {
			return options, fmt.Errorf("%s: %w", file, err)
		}
		options.Identities = append(options.Identities, id)
	}
	if o.trust == "" {
		if o.approvers != "" {
			return options, errors.New("--approvers says who signs the trust file: give that with --trust")
		}
		return options, nil
	}
	var err error
	options.Trust, err = o.verifiedTrust(stderr)
	return options, err
}

// printer turns messages into lines.
type printer struct {
	out     *bufio.Writer
	stderr  io.Writer
	reader  *envelope.Reader
	refused map[refusedKey]int
	others  *envelope.Refusal // the newest of those for other recipients; nil for none
	opened  bool              // something sealed was
	foreign int
}

// maxRefused is how many streams are counted apart, of those with refused
// messages.
const maxRefused = 1000

type refusedKey struct {
	class  envelope.Class
	stream envelope.Stream
}

// line is one sample or one payload.
type line struct {
	Time        string          `json:"time"`
	Gateway     string          `json:"gateway"`
	Machine     string          `json:"machine"`
	Point       string          `json:"point"`
	Level       string          `json:"level"`
	Value       *envelope.Value `json:"value,omitempty"`
	Unit        string          `json:"unit,omitempty"`
	Quality     string          `json:"quality,omitempty"` // OPC UA status code; absent: good
	Payload     []byte          `json:"payload,omitempty"` // what the device encrypted, in base64
	ContentType string          `json:"content_type,omitempty"`
	Sealed      bool            `json:"sealed"`
	Sequence    uint64          `json:"sequence"`
	Proof       string          `json:"proof"`
}

func (p *printer) message(m envelope.Message) error {
	deliveries, err := p.reader.Read(&m)
	var refusal *envelope.Refusal
	switch {
	case err == nil:
	case !errors.As(err, &refusal):
		return err
	case refusal.Class == envelope.WrongRecipient:
		p.others = refusal // meant for others: wrong only where nothing at all is meant for the identities given
	default:
		k := refusedKey{refusal.Class, refusal.Stream}
		if _, known := p.refused[k]; !known && len(p.refused) >= maxRefused {
			k = refusedKey{class: refusal.Class} // names that anybody may make up
		}
		if p.refused[k]++; p.refused[k] <= 3 {
			fmt.Fprintf(p.stderr, "fieldseal: refused: %v\n", refusal)
		}
	}
	for i := range deliveries {
		p.opened = p.opened || deliveries[i].Sealed && !deliveries[i].Unopened
		if err := p.delivery(&deliveries[i]); err != nil {
			return err
		}
	}
	return p.out.Flush()
}

func (p *printer) delivery(d *envelope.Delivery) error {
	l := line{
		Gateway: d.Stream.Gateway, Machine: d.Stream.Machine, Level: d.Stream.Level,
		Sealed: d.Sealed, Sequence: d.Sequence, Proof: d.Proof.String(),
	}
	encoder := json.NewEncoder(p.out)
	encoder.SetEscapeHTML(false)
	if d.Kind == envelope.Passthrough {
		l.Time, l.Point, l.Payload, l.ContentType = stamp(d.Time), d.Point, d.Payload, d.ContentType
		return encoder.Encode(l)
	}
	for i := range d.Samples {
		s := &d.Samples[i]
		l.Time, l.Point, l.Unit, l.Value, l.Quality = stamp(s.Time), s.Name, s.Unit, nil, ""
		if s.Quality != 0 {
			l.Quality = fmt.Sprintf("0x%08X", s.Quality)
		}
		if s.Value.Kind() != envelope.NoValue {
			l.Value = &s.Value
		}
		if err := encoder.Encode(l); err != nil {
			return err
		}
	}
	return nil
}
