package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fieldseal/fieldseal/bridge"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
)

// uplinks looks at where messages will go.
func (o *online) uplinks(ctx context.Context) {
	for i := range o.config.Uplinks {
		u := &o.config.Uplinks[i]
		where := o.places.uplink(o.file, u.Name)
		switch {
		case u.NATS != nil:
			o.nats(ctx, u, where)
		case u.Files != nil:
			o.folder(u, where)
		case u.DTLS != nil:
			o.hubs(ctx, u, where)
		}
	}
}

// nats looks at the stream of a NATS uplink.
func (o *online) nats(ctx context.Context, u *configs.Uplink, where at) {
	found, err := bridge.InspectNATS(ctx, o.config, u.NATS, o.keys)
	o.withoutKeys(u, where, err)
	for _, f := range found {
		what := "uplink " + u.Name + ": " + f.What
		switch {
		case f.Unseen:
			o.unseen(o.file, "", where, what, f.Instead)
		case f.Note:
			o.note(o.file, "", where, what, f.Instead)
		default:
			o.problem(o.file, "", where, what, f.Instead)
		}
	}
}

// withoutKeys says why nobody was connected to, if that is so.
func (o *online) withoutKeys(u *configs.Uplink, where at, err error) {
	switch {
	case errors.Is(err, bridge.ErrNoKeys):
		o.unseen(o.file, "", where, "uplink "+u.Name+" is not looked at: "+err.Error(), "look on the gateway, as the user that runs it: fieldseal check --online")
	case err != nil:
		o.problem(o.file, "", where, "uplink "+u.Name+": "+err.Error(), "mend that; fieldseal keys list shows what certificates there are")
	}
}

// hubs hears from the hubs of a DTLS uplink where they publish. All hubs of a gateway
// must lead to one place.
func (o *online) hubs(ctx context.Context, u *configs.Uplink, where at) {
	seen, err := bridge.InspectDTLS(ctx, o.config, u.DTLS, o.keys)
	o.withoutKeys(u, where, err)
	for _, s := range seen {
		said := "uplink " + u.Name + ": the hub " + s.Server
		into := fmt.Sprintf(" publishes into the stream %s, under %s", s.Welcome.Stream, s.Welcome.Prefix)
		var fault *envelope.Fault
		switch {
		case errors.As(s.Err, &fault):
			why := fault.What
			if fault.Err != nil {
				why += ": " + fault.Err.Error()
			}
			o.problem(o.file, "", where, said+": "+why, fault.Instead)
		case s.Late:
			o.problem(o.file, "", where, said+" had no time left to answer", "a longer --timeout gives it some")
		case s.Err != nil:
			o.problem(o.file, "", where, said+" gives no connection: "+s.Err.Error(), "start it, or let UDP through to it both ways; its own log tells whom it turned away")
		case o.hub == nil:
			o.hub = &s
			o.note(o.file, "", where, said+into, "whether that stream is there and keeps what it is given is for the hub to see, and where it runs: fieldseal hub check --online")
		case s.Welcome.Prefix != o.hub.Welcome.Prefix || s.Welcome.Stream != o.hub.Welcome.Stream:
			o.problem(o.file, "", where, fmt.Sprintf("%s%s, and %s into %s, under %s", said, into, o.hub.Server, o.hub.Welcome.Stream, o.hub.Welcome.Prefix),
				"give both hubs the same stream and prefix, or name one of them only")
		}
	}
}

// folder looks at the folder of a files uplink.
func (o *online) folder(u *configs.Uplink, where at) {
	dir := u.Files.Folder
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) { // it is made, in the folder around it
		dir = filepath.Dir(dir)
		info, err = os.Stat(dir)
	}
	said := "uplink " + u.Name + ": the folder " + configs.Printable(dir)
	switch {
	case err != nil:
		o.problem(o.file, "", where, said+" cannot be looked at: "+err.Error(), "make it, for the user that runs the gateway")
		return
	case !info.IsDir():
		o.problem(o.file, "", where, said+" is no folder", "name another one")
		return
	}
	free, err := diskFree(dir)
	switch {
	case errors.Is(err, errNotWritable):
		o.problem(o.file, "", where, said+fmt.Sprintf(" cannot be written to as uid %d", os.Geteuid()), "give it to the user that runs the gateway, and check as that user")
	case err != nil:
		o.unseen(o.file, "", where, said+" does not say how much room it has: "+err.Error(), "see for yourself")
	case free < o.config.Outbox.MaxSize:
		o.problem(o.file, "", where, fmt.Sprintf("%s has %d MiB left, less than the outbox may hold (%d MiB)", said, free>>20, o.config.Outbox.MaxSize>>20),
			"make room, or name a folder with more")
	}
}

var errNotWritable = errors.New("it cannot be written to")
