package main

import (
	"context"
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
	policies               []string
	servers                []string
	stream, prefix         string
	cert, key, authorities string
	state, format          string
	end, now, waitSigned   bool
	stats, tags, quiet     bool
	clear, json            bool
}

func openCommand() *cobra.Command {
	var o openOptions
	c := &cobra.Command{
		Use:   "open [FILE|FOLDER…|-]",
		Short: "Open what is meant for you, as JSON lines or CSV; without an identity, audit",
		Long: `Open reads a JetStream stream (--nats), or the segments that a files uplink wrote, or standard input (-).
It verifies every message against the trust file, opens what is sealed for the identities given, and prints
one JSON line for each sample (or a row, with --format csv). It changes nothing.

The trust file counts only with the signatures of its approvers beside it. Name them once, with --approvers:
they are remembered in fieldseal/approvals of your configuration folder, and so is the trust file's revision.

A sample is printed when the gateway's signature over it has arrived (--wait-signed, the default); with --now
at once, marked "pending". Without a trust file, or approvers to vouch for it, everything is "unverified" and
the exit code is 1. What is missing, lost, forged or late is told on stderr as soon as it is known.

With --state FILE it goes on where it ended before. What was printed when it was killed may come once more,
and nothing is left out.

Without an identity it audits: it prints no samples, but what was verified, whether anything is missing or
withheld, and which policy is in force at which gateway. With --policy FILE, which the approvers signed too, it
looks whether all that the policy seals left sealed, for nobody else than the trust file says.

Exit codes: 0 everything in order (what is sealed for others is); 1 something is missing without a signed word
why, withheld, forged or refused, its signature is overdue, a gateway is silent (while following a stream and in an audit),
an audit has findings, the trust file or policy is refused, or nothing was verified; 2 could not look.`,
		Example: `  fieldseal open -i historian.identity --trust trust.yaml --nats tls://hub-a.example:4222 --stream PLANT --prefix plant.augsburg \
    --cert historian.pem --key historian.key --ca hub-ca.pem --state historian.state
  fieldseal open -i historian.identity --trust trust.yaml --format csv /media/stick
  fieldseal open --trust trust.yaml --policy policy.yaml /media/stick`,
		RunE: func(c *cobra.Command, args []string) error {
			if o.now && c.Flags().Changed("wait-signed") {
				return noLook(errors.New("--now and --wait-signed at once; --wait-signed is the default"))
			}
			o.now = o.now || !o.waitSigned
			return o.open(c.Context(), args, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&o.identities, "identity", "i", nil, "identity file; may be given several times")
	f.StringVar(&o.trust, "trust", "", "trust file: whose signatures count")
	f.StringVar(&o.approvers, "approvers", "", "who has to sign the trust file: what fieldseal policy show --approvers prints on a gateway")
	f.StringArrayVar(&o.policies, "policy", nil, "without an identity: policy file to hold against what came; may be given several times, for the time that each was in force")
	f.StringSliceVar(&o.servers, "nats", nil, "NATS servers, tls://host:port")
	f.StringVar(&o.stream, "stream", "", "JetStream stream")
	f.StringVar(&o.prefix, "prefix", "", "subject prefix of the gateways, as in their gateway files")
	f.StringVar(&o.cert, "cert", "", "client certificate (PEM)")
	f.StringVar(&o.key, "key", "", "its private key (PEM)")
	f.StringVar(&o.authorities, "ca", "", "authorities that the server's certificate must lead to (PEM)")
	f.BoolVar(&o.end, "end", false, "stop at the message that is the last one now, instead of waiting for more")
	f.BoolVar(&o.now, "now", false, "do not wait for signatures: print at once and mark as pending")
	f.BoolVar(&o.waitSigned, "wait-signed", true, "print what the gateway's signature covers, and nothing else")
	f.StringVar(&o.state, "state", "", "file (or folder) that remembers how far it came: go on there")
	f.StringVar(&o.format, "format", "json", "json (one object a line) or csv")
	f.BoolVar(&o.tags, "tags", false, "with each sample, the tags of its point")
	f.BoolVar(&o.clear, "clear", false, "without an identity: print what left in clear and what devices encrypted")
	f.BoolVar(&o.stats, "stats", false, "at the end print a line with ranges, gaps, losses and forgeries of each stream, and each gateway's word")
	f.BoolVar(&o.json, "json", false, "the audit's summary as JSON; --stats does the same")
	f.BoolVar(&o.quiet, "quiet", false, "no progress on stderr")
	return c
}

// check refuses what does not go together.
func (o *openOptions) check() error {
	audit := len(o.identities) == 0
	switch {
	case o.format != "json" && o.format != "csv":
		return fmt.Errorf("--format is %q; write json or csv", o.format)
	case o.tags && o.format == "csv":
		return errors.New("--tags is for JSON lines: a row has no room for them")
	case o.trust == "" && o.approvers != "":
		return errors.New("--approvers says who signs the trust file: give that with --trust")
	case len(o.policies) > 0 && !audit:
		return errors.New("--policy is for an audit, which opens nothing: leave out --identity")
	case len(o.policies) > 0 && o.trust == "":
		return errors.New("--policy needs the trust file: give it with --trust")
	case o.now && audit:
		return errors.New("--now prints what nobody signed for yet, and an audit holds nobody to that: leave it out, or give --identity")
	case o.clear && !audit:
		return errors.New("--clear is for an audit; with an identity everything is printed that it opens")
	case o.json && !audit:
		return errors.New("--json is for the summary of an audit; with an identity it is --stats")
	}
	return nil
}

// ofNATS refuses what says nothing of files.
func (o *openOptions) ofNATS() error {
	for _, flag := range []struct {
		name  string
		given bool
	}{{"--stream", o.stream != ""}, {"--prefix", o.prefix != ""}, {"--cert", o.cert != ""}, {"--key", o.key != ""}, {"--ca", o.authorities != ""}} {
		if flag.given {
			return fmt.Errorf("%s is for --nats, and says nothing of files: leave it out", flag.name)
		}
	}
	return nil
}

func (o *openOptions) open(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return noLook(err)
	}
	read, err := o.source(args, stdin)
	if err != nil {
		return noLook(err)
	}
	identities, err := o.readIdentities()
	if err != nil {
		return noLook(err)
	}
	var believed *verified
	if o.trust != "" {
		believed, err = o.verifiedTrust(stderr)
		if exit := (*exitError)(nil); errors.As(err, &exit) {
			return err
		} else if err != nil {
			return noLook(err)
		}
	}
	kept, err := o.openState(believed, identities)
	if err != nil {
		return noLook(err)
	}
	defer kept.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := newReceiver(o, identities, believed, kept, stdout, stderr)
	r.stop = cancel
	err = read(ctx, r)
	r.end()
	switch {
	case r.failed != nil:
		return noLook(r.failed)
	case r.reader == nil && (err == nil || ctx.Err() != nil):
		return noLook(errors.New("ended before anything could be read"))
	case err != nil && ctx.Err() == nil:
		return noLook(errors.Join(err, r.save()))
	}
	inOrder, err := r.finish(o.stats || o.json)
	switch {
	case err != nil:
		return err
	case !inOrder:
		return &exitError{exitProblems, errors.New("not everything is in order")}
	case o.trust == "":
		return &exitError{exitProblems, errors.New("nothing was verified: give the trust file with --trust")}
	case believed == nil:
		return &exitError{exitProblems, fmt.Errorf("nothing was verified: nobody vouches for %s; name its approvers once with --approvers FILE, which fieldseal policy show --approvers prints on a gateway", o.trust)}
	}
	return nil
}

func (o *openOptions) readIdentities() (out []*envelope.Identity, err error) {
	for _, file := range o.identities {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read the identity: %w", err)
		}
		id, err := envelope.ParseIdentity(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, id)
	}
	return out, nil
}
