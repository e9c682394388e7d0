package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/clock"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/relay"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// Options say what a gateway runs with.
type Options struct {
	Config   *configs.Config
	Problems []configs.Problem // of the machines that were left out
	Keys     *keystore.Store
	Logger   *slog.Logger     // nil: none
	Now      func() time.Time // nil: time.Now
	// Synchronised tells whether the time that Now gave is; nil: the kernel knows.
	Synchronised func() (bool, error)
	Version      string
	// Again reads the configuration once more where the state folder cannot keep
	// what is new in it, with what was accepted before: configs.Options.NotKept. The
	// configuration is nil where nothing was. Nil: such a start ends.
	Again func(notKept error) (*configs.Config, []configs.Problem)

	keep keeping // nil: that of the store
}

// keeping accepts a policy and a trust file: [approval.Store.Keep].
type keeping func(s *approval.Store, policyFile, trustFile approval.Copy) (changed bool, err error)

// Gateway is one running gateway. Make it with [New], then call [Gateway.Run]
// once.
type Gateway struct {
	logger  *slog.Logger
	now     func() time.Time
	clock   *clock.Clock // how far that is trusted
	version string
	started time.Time
	start   uint64

	lock      *os.File
	log       *outbox.Log
	events    *eventLog
	guards    *guardMemory
	committer *committer
	keys      *keystore.Store
	workers   *opcua.Pool // of the OPC UA endpoints
	segment   int64       // the size of the outbox's

	firstPause time.Duration // before a source that ended is run again

	reloading sync.Mutex         // one at a time; guards the endpoints
	endpoints []*endpoint        // once it runs
	sources   sync.WaitGroup     // that run
	stopped   context.Context    // while it runs; nil before
	endRelay  context.CancelFunc // of the one in force

	mu       sync.Mutex // guards what a reload changes and others look at
	config   *configs.Config
	relay    *relay.Relay
	relaying *relay.Relay // the one that runs; nil before
	sinks    []*sink
	leftOut  []status.LeftOut
	reload   status.Reload
}

// New takes the state folder, opens the outbox and builds everything. It
// connects to nothing.
func New(o Options) (_ *Gateway, err error) {
	g := &Gateway{config: o.Config, logger: o.Logger, now: o.Now, version: o.Version, keys: o.Keys, firstPause: time.Second}
	if g.logger == nil {
		g.logger = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	g.started = g.now()
	if g.lock, err = lockState(g.config.State); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	if g.events, err = openEventLog(g.config.State, g.logger, g.now); err != nil {
		return nil, err
	}
	g.openClock(&o)
	if err = g.accept(&o); err != nil {
		return nil, err
	}
	if g.guards, err = openGuards(g.config.State, g.logger); err != nil {
		return nil, err
	}
	if err = g.buildCommitter(o.Keys); err != nil {
		return nil, err
	}
	if err = g.buildRelay(o.Keys); err != nil {
		return nil, err
	}
	for _, p := range o.Problems {
		if p.Machine != "" && !p.Note {
			g.leaveOut(p.Machine, p)
		}
	}
	g.buildMachines(o.Keys)
	return g, nil
}

// buildCommitter opens the outbox and goes on where its streams ended.
func (g *Gateway) buildCommitter(keys *keystore.Store) error {
	secret, err := keys.Secret(keystore.Outbox)
	if err != nil {
		return err
	}
	ids, err := keys.Secret(keystore.MessageID)
	if err != nil {
		return err
	}
	signing, err := keys.Signer(keystore.Signing)
	if err != nil {
		return err
	}
	levels, err := levelsOf(g.config)
	if err != nil {
		return err
	}
	set := stream.Config{
		Gateway: g.config.Gateway, Signer: envelope.Signer{Gateway: g.config.Gateway, Key: signing}, IDKey: ids, NamesKey: namesKey(ids), Levels: levels,
	}
	cost, err := streamsCostOf(g.config, &set, g.now())
	if err != nil {
		return err
	}
	segment, err := cost.segmentFor(g.config.Outbox.MaxSize)
	if err != nil {
		return err
	}
	if g.log, err = outbox.Open(outbox.Options{
		Dir: filepath.Join(g.config.State, "outbox"), Key: secret, MaxSize: g.config.Outbox.MaxSize, SegmentSize: segment, Now: g.dated,
	}); err != nil {
		return fmt.Errorf("cannot open the outbox: %w", err)
	}
	g.committer = &committer{
		log: g.log, append: g.log.Append, intake: newIntake(), sinks: g.allSinks, swaps: make(chan swap), ended: make(chan struct{}), logger: g.logger,
		events: g.events.write, word: g.word, house: g.house, dropOld: !g.config.Outbox.StopPolling, maxAge: g.config.Outbox.MaxAge,
		now: g.now, synchronised: g.synchronised, damage: damage{log: g.log, trust: g.trust()}, signed: make(map[envelope.Stream]uint64),
	}
	heads, lost, err := recoverStreams(g.log, &g.committer.damage)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		g.committer.reportDamage(lost)
	}
	quarantined, err := unexplained(g.config.State, func(file string, err error) {
		g.logger.Error("a message in quarantine cannot be read", "file", file, "error", err)
		g.events.write(stream.Event{Name: "quarantine-unreadable", Text: filepath.Base(file) + " is passed over; if its message was lost, no loss record says so"})
	})
	if err != nil {
		return err
	}
	if err := g.countStart(&heads); err != nil {
		return err
	}
	if cost.old(&heads); cost.bytes > segment*3/4 {
		return cost.tooSmall(g.config.Outbox.MaxSize)
	}
	g.segment, g.committer.segment = segment, segment-cost.bytes
	set.Start, set.CommitBytes = g.start, int(g.committer.segment/4)
	_, _ = rand.Read(set.Instance[:])
	g.committer.set = stream.NewSet(set, heads)
	g.committer.explain(append(lost, quarantined...)...)
	g.committer.ages.before = g.log.Stats().LastPosition
	g.log.SetPreamble(g.committer.preamble)
	return nil
}

// word is what the gateway says of itself at a commit.
func (g *Gateway) word() word {
	return word{clock: clockGrade(g.clock.Read().Trust), policy: g.configuration().Policy.Digest, events: g.events.upstream()}
}

// house looks after what of the state folder is written while the gateway runs.
func (g *Gateway) house(now time.Time, last bool) {
	g.guards.save(g.allSinks(), now, last)
}

// configuration is the one in force.
func (g *Gateway) configuration() *configs.Config {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.config
}

func (g *Gateway) allSinks() []*sink {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sinks // replaced, and never changed
}

// countStart takes the number of this start.
func (g *Gateway) countStart(heads *stream.Heads) error {
	start, behind, err := nextStart(g.config.State, heads.Start())
	if err != nil {
		return err
	}
	if g.start = start; behind {
		text := fmt.Sprintf("the start counter was missing or behind the outbox, which knows start %d; this is start %d", heads.Start(), start)
		g.logger.Error(text)
		g.events.write(stream.Event{Name: "start-counter-behind", Text: text})
	}
	return nil
}

// trust is what the trust file says of this gateway.
func (g *Gateway) trust() *envelope.Trust {
	own := g.config.Trust.Gateways[g.config.Gateway]
	return &envelope.Trust{Gateways: map[string]envelope.GatewayKeys{
		g.config.Gateway: {{Public: own.SigningKey, Until: own.Until}},
	}}
}

// segmentSize is that of the outbox: 4 MiB, and less where the whole is small,
// since overflow gives up a segment at a time.
func segmentSize(maxSize int64) int64 {
	return min(4<<20, max(maxSize/8, 512<<10), maxSize/4)
}

func (g *Gateway) buildRelay(keys *keystore.Store) error {
	var err error
	g.relay, err = g.newRelay(g.config, keys)
	return err
}

// newRelay makes a relay to the uplinks of a configuration.
func (g *Gateway) newRelay(c *configs.Config, keys *keystore.Store) (*relay.Relay, error) {
	uplinks, err := wireUplinks(c, keys, g.logger)
	if err != nil {
		return nil, err
	}
	return relay.New(relay.Config{
		Queue: watchedQueue{relay.Outbox(g.log), g.committer}, Uplinks: uplinks, Logger: g.logger,
		Events:     func(name, text string) { g.events.write(stream.Event{Name: name, Text: text}) },
		Quarantine: g.quarantine(),
	})
}

// quarantine is where the relay puts what no uplink can ever accept.
func (g *Gateway) quarantine() func(envelope.Message, string) error {
	full := false // and that is told
	return func(m envelope.Message, reason string) error {
		q := quarantined{
			Reason: reason, Stream: m.Address.Stream.String(), Kind: m.Address.Kind.String(),
			Epoch: m.Epoch.String(), Sequence: m.Sequence, Message: envelope.AppendMessage(nil, &m),
		}
		file, err := putInQuarantine(g.configuration().State, hex.EncodeToString(m.ID[:])+".json", q)
		if isFull := errors.Is(err, errQuarantineFull); isFull && !full {
			g.events.write(stream.Event{Name: "quarantine-full", Machine: m.Address.Stream.Machine, Text: fmt.Sprintf("nothing is delivered: %v; refused now: %s", err, reason)})
			full = true
		} else if !isFull {
			full = false
		}
		if err != nil {
			return err
		}
		g.events.write(stream.Event{Name: "message-quarantined", Machine: m.Address.Stream.Machine, Text: reason})
		if m.Sequence > 0 && m.Address.Kind != envelope.Statement { // a record that cannot be read names no message
			g.committer.explain(quarantineRun(&m, reason, file))
		}
		return nil
	}
}

// buildMachines makes a sink for each machine and attaches it to its endpoint.
func (g *Gateway) buildMachines(keys *keystore.Store) {
	sinks := make(map[string]*sink)
	machines := make([]configs.Machine, 0, len(g.config.Machines))
	for _, m := range g.config.Machines {
		if err := readable(g.config, &m, g.now()); err != nil {
			g.leaveOut(m.Name, err)
			continue
		}
		machines = append(machines, m)
		sinks[m.Name] = g.newSink(&m)
	}
	out := make(map[string]bool)
	g.workers = opcua.NewPool(opcua.Options{Logger: g.logger})
	w := g.wiring(g.config, sinks)
	w.leftOut = func(machine string, err error) {
		out[machine] = true
		g.leaveOut(machine, err)
	}
	g.endpoints = w.sources(machines)
	for _, m := range machines {
		if !out[m.Name] {
			g.sinks = append(g.sinks, sinks[m.Name])
		}
	}
}

func (g *Gateway) wiring(c *configs.Config, sinks map[string]*sink) wiring {
	return wiring{sinks: sinks, keys: g.keys, state: c.State, logger: g.logger, workers: g.workers}
}

func (g *Gateway) leaveOut(machine string, err error) {
	g.logger.Error("a machine is left out", "machine", machine, "error", err)
	g.events.write(stream.Event{Name: "machine-left-out", Machine: machine, Text: err.Error()})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leftOut = append(g.leftOut, status.LeftOut{Machine: machine, Problem: err.Error()})
}
