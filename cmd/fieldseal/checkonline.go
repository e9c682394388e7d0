package main

import (
	"context"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
)

// online is one look at machines and uplinks. It reads only: nothing is written to
// a machine, and nothing is published.
type online struct {
	config  *configs.Config
	keys    *keystore.Store // nil where there are none
	file    string          // the gateway file
	timeout time.Duration
	places  places
	// deciding is the time that the gateway holds exceptions against.
	deciding time.Time

	hub     *dtls.Seen // the first that said where it publishes
	found   []found
	notSeen int // what it could not look at
}

// look connects to everything that the configuration names.
func (o *online) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	// Both gather apart, so that the order of what they find is always the same.
	up := &online{config: o.config, keys: o.keys, file: o.file, timeout: o.timeout, deciding: o.deciding}
	var both sync.WaitGroup
	both.Go(func() { up.uplinks(ctx) })
	o.machines(ctx)
	both.Wait()
	o.found = append(o.found, up.found...)
	o.notSeen += up.notSeen
}

func (o *online) add(p configs.Problem) { o.found = append(o.found, found{Problem: p}) }

// down notes a machine that gives no connection. The gateway goes on trying.
func (o *online) down(m *configs.Machine, where at, what, instead string) {
	o.found = append(o.found, found{Down: true, Problem: configs.Problem{
		File: m.File, Machine: m.Name, Line: where.line, Column: where.column, What: what, Instead: instead, Stops: true,
	}})
}

// point notes what is wrong with one point. The others of the machine go on.
func (o *online) point(m *configs.Machine, name string, where at, what, instead string) {
	o.found = append(o.found, found{Point: name, Problem: configs.Problem{
		File: m.File, Machine: m.Name, Line: where.line, Column: where.column, What: what, Instead: instead, Stops: true,
	}})
}

func (o *online) problem(file, machine string, where at, what, instead string) {
	o.add(configs.Problem{File: file, Machine: machine, Line: where.line, Column: where.column, What: what, Instead: instead})
}

func (o *online) note(file, machine string, where at, what, instead string) {
	o.add(configs.Problem{File: file, Machine: machine, Line: where.line, Column: where.column, What: what, Instead: instead, Note: true})
}

// unseen notes what could not be looked at.
func (o *online) unseen(file, machine string, where at, what, instead string) {
	o.notSeen++
	o.note(file, machine, where, what, instead)
}
