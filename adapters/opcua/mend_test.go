package opcua

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// onePoint is a session in the middle of its life, with one monitored item.
func onePoint(typ Type) (*session, *subscription, *item) {
	e := newEndpoint(1, openFrame{pace: defaultPace()}, newSender(sendLimit))
	a := &assignment{endpoint: 1, id: 1, spec: &Machine{Namespace: "urn:test", Points: []Point{
		{Node: NodeID{Kind: TextNode, Text: "alarm"}, Type: typ, Period: time.Second},
	}}}
	sub := &subscription{id: 7, interval: time.Second, silence: time.Minute, beat: time.Second, next: 1, known: 1, held: map[uint32]*ua.NotificationMessage{}, clock: 99}
	it := newItem(a, 0)
	it.sub, it.handle = sub, 1
	a.items = []*item{it}
	s := &session{
		endpoint: e, taken: map[uint32]*assignment{1: a}, anew: make(chan struct{}, 1), active: 1,
		subs: map[group]*subscription{{}: sub}, byID: map[uint32]*subscription{7: sub}, items: map[uint32]*item{1: it},
	}
	return s, sub, it
}

// told gives the samples that the session sent to the pool, and how many gaps it
// told of.
func told(t *testing.T, s *session) (out []point.Sample, gaps uint64) {
	t.Helper()
	for _, a := range s.taken {
		s.flush(a)
		in := strings.NewReader(string(s.out.pending))
		for in.Len() > 0 {
			b, err := readFrame(in, maxFromWorker)
			require.NoError(t, err)
			p := &parser{b: b}
			k := kind(p.u8())
			p.u32()
			switch k {
			case frameLost:
				l, err := parseLost(p)
				require.NoError(t, err)
				gaps += l.gaps
				continue
			case frameSamples:
				p.u32()
			default:
				continue
			}
			samples, err := parseSamples(p, a.spec)
			require.NoError(t, err, "an honest worker is not ended")
			out = append(out, samples...)
		}
	}
	return out, gaps
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// alarm is a value that the device had since so many seconds after noon.
func alarm(on bool, since int) *ua.DataValue {
	d := &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(on)}
	if since >= 0 {
		d.EncodingMask |= ua.DataValueSourceTimestamp
		d.SourceTimestamp = noon.Add(time.Duration(since) * time.Second)
	}
	return d
}

// TestOldAnswer: the answer to a read does not come after a notification that is
// newer.
func TestOldAnswer(t *testing.T) {
	for _, c := range []struct {
		name           string
		first, answer  *ua.DataValue
		before         bool // the notification came before the read was sent
		last           bool
		notificationIn int
	}{
		{"older", alarm(true, 2), alarm(false, 1), false, true, 1},
		{"newer", alarm(true, 2), alarm(false, 3), false, false, 2},
		{"the same", alarm(true, 2), alarm(true, 2), false, true, 1},
		{"without times", alarm(true, -1), alarm(false, -1), false, true, 1},
		{"asked after it", alarm(true, -1), alarm(false, -1), true, false, 2},
		{"the device's clock was set back", alarm(true, 2), alarm(false, 1), true, false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, it := onePoint(Bool)
			notices := s.notices
			s.notified(it, c.first)
			if c.before {
				notices = s.notices
			}
			s.answered(it, c.answer, notices)
			got, _ := told(t, s)
			require.Len(t, got, c.notificationIn)
			assert.Equal(t, c.last, got[len(got)-1].Value.Bool())
		})
	}
}

// TestTimes: a time that nanoseconds do not hold is none, and not another one.
func TestTimes(t *testing.T) {
	const epoch = 116_444_736_000_000_000 // 1970, in 100 ns since 1601
	decode := func(ticks uint64) time.Time {
		return ua.NewBuffer(binary.LittleEndian.AppendUint64(nil, ticks)).ReadTime()
	}
	ticks := func(year int) uint64 {
		return uint64(time.Date(year, 7, 1, 0, 0, 0, 0, time.UTC).Unix()*10_000_000 + epoch)
	}
	for _, c := range []struct {
		ticks uint64
		year  int // 0: none
	}{
		{ticks(1900), 1900},
		{ticks(1970), 1970},
		{ticks(2026), 2026},
		{ticks(2185), 2185},
		{ticks(2261), 2261},
		{ticks(1650), 0},
		{ticks(2263), 0},
		{ticks(2600), 0},
		{ticks(3000), 0},
		{ticks(9998), 0},
		{2_650_467_743_990_000_000, 0},
		{0x7FFFFFFFFFFFFFFF, 0},
		{1, 0},
		{0, 0},
		{0xFFFFFFFFFFFFFFFF, 0},
	} {
		it := &item{typ: DateTime}
		v := ua.MustVariant(decode(c.ticks))
		s, _ := it.convert(&ua.DataValue{EncodingMask: ua.DataValueValue, Value: v, SourceTimestamp: decode(c.ticks), ServerTimestamp: noon}, time.Now())
		if c.year == 0 {
			assert.Equal(t, point.BadOutOfRange, s.Quality, c.ticks)
			assert.Equal(t, noon.UnixNano(), s.Time, "the server's time instead")
		} else {
			assert.Equal(t, point.Good, s.Quality)
			assert.Equal(t, c.year, time.Unix(0, s.Value.Int()).UTC().Year())
			assert.Equal(t, s.Value.Int(), s.Time)
		}
		s, _ = it.convert(&ua.DataValue{EncodingMask: ua.DataValueValue, Value: v, ServerTimestamp: decode(1)}, noon)
		assert.Equal(t, noon.UnixNano(), s.Time, "ours, where there is no other")
	}
}

// TestSeverity: a status whose severity is none, or that refuses with one that is
// not bad, is bad to both processes.
func TestSeverity(t *testing.T) {
	s, _, it := onePoint(Bool)
	for _, status := range []ua.StatusCode{0xC0000000, 0xC0340000, 0xFFFFFFFF, 0x40340000, 0x00340000} {
		assert.True(t, asBad(status).IsBad(), "%08x", uint32(status))
		s.refuseAll([]*item{it}, status, "")
		d := alarm(true, 1)
		d.Status = status
		s.notified(it, d)
	}
	got, _ := told(t, s)
	assert.Len(t, got, 10)
	assert.Equal(t, point.Bad, quality(0xC0340000))
	assert.Equal(t, point.Uncertain, quality(0x40000000))
}

func message(sequence uint32, handles ...uint32) *ua.PublishResponse {
	m := &ua.NotificationMessage{SequenceNumber: sequence}
	change := &ua.DataChangeNotification{}
	for _, h := range handles {
		change.MonitoredItems = append(change.MonitoredItems, &ua.MonitoredItemNotification{ClientHandle: h, Value: alarm(true, int(sequence))})
	}
	if len(handles) > 0 {
		m.NotificationData = []*ua.ExtensionObject{{Value: change}}
	}
	return &ua.PublishResponse{SubscriptionID: 7, NotificationMessage: m}
}

// TestGap: a message that does not come is given up after a while, and counted. A
// keep-alive tells of it as well as another message.
func TestGap(t *testing.T) {
	for _, c := range []struct {
		name string
		came []*ua.PublishResponse
		gaps uint64
		next uint32
	}{
		{"a message after it", []*ua.PublishResponse{message(1, 1), message(3, 1)}, 1, 4},
		{"a keep-alive after it", []*ua.PublishResponse{message(1, 1), message(4)}, 2, 4},
		{"nothing is missing", []*ua.PublishResponse{message(1, 1), message(2)}, 0, 2},
		{"out of order", []*ua.PublishResponse{message(1, 1), message(3, 1), message(4), message(2, 1)}, 0, 4},
		{"before the first", []*ua.PublishResponse{message(2)}, 1, 2},
		{"nonsense", []*ua.PublishResponse{message(1, 1), message(0xFFFFFFFF), message(2, 1)}, 0, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, sub, it := onePoint(Bool)
			for _, m := range c.came {
				require.NoError(t, s.take(m))
			}
			sub.heard = time.Now().Add(time.Hour)
			require.NoError(t, s.inspect(time.Now().Add(time.Second)))
			assert.Zero(t, it.of.gaps, "not yet")
			require.NoError(t, s.inspect(time.Now().Add(3*time.Second)))
			_, gaps := told(t, s)
			assert.Equal(t, c.gaps, gaps)
			assert.Equal(t, c.next, sub.next)
			assert.Equal(t, c.gaps > 0, s.stale)
			assert.Empty(t, sub.held)
		})
	}
}

// TestHeldTick: a tick of the server's clock that waits for a message before it
// is a sign of life nevertheless.
func TestHeldTick(t *testing.T) {
	s, sub, _ := onePoint(Bool)
	require.NoError(t, s.take(message(1, 99)))
	assert.Equal(t, time.Minute, sub.patience(), "the time that it shows at first proves nothing")
	require.NoError(t, s.take(message(2, 99)))
	assert.Equal(t, time.Second, sub.patience())
	sub.heard = time.Time{}
	require.NoError(t, s.take(message(4, 99)))
	assert.WithinDuration(t, time.Now(), sub.heard, time.Second)
	sub.heard = time.Now().Add(-2 * time.Second)
	require.NoError(t, s.take(message(5, 1)))
	assert.EqualError(t, s.inspect(time.Now()), "the subscription fell silent: nothing came for 1s")
}

// TestManyLinks: a worker that talks and talks does not fill the pool's memory.
func TestManyLinks(t *testing.T) {
	m := newMachine(&Source{pool: NewPool(Options{})}, 1, "m", everyType(), nil)
	one := []point.Sample{{Time: 1, Value: point.OfBool(true)}}
	for i := range 100_000 {
		m.pushLink(linkFrame{up: i%2 == 0, why: strings.Repeat("x", maxWhy)})
		m.push(one)
		m.pushLink(linkFrame{up: true})
	}
	assert.LessOrEqual(t, len(m.events), maxEvents+1)
	assert.NotZero(t, m.lost)
	assert.NotNil(t, m.events[len(m.events)-1].link, "the last state is kept")
}

// TestKeysThatDoNotLast: a server has keys renewed no more often than makes sense.
func TestKeysThatDoNotLast(t *testing.T) {
	g := &gate{renewal: minToken / 2}
	require.NoError(t, g.judgeRenewal(noon))
	require.NoError(t, g.judgeRenewal(noon.Add(6*time.Second)))
	err := g.judgeRenewal(noon.Add(7 * time.Second))
	var r *refusal
	require.ErrorAs(t, err, &r)
	assert.Equal(t, "the server's keys live so short that they are renewed within 5s; give security tokens a lifetime of at least 10s there, better an hour", r.what)
}

// TestRefusedLogin: who is refused waits longer each time, so that he is not
// locked out.
func TestRefusedLogin(t *testing.T) {
	e := newEndpoint(1, openFrame{pace: defaultPace()}, newSender(0))
	login := fmt.Errorf("wrapped: %w", &refusal{what: "no", login: true})
	for _, minutes := range []int{1, 2, 4, 8, 16, 30, 30} {
		assert.Equal(t, time.Duration(minutes)*time.Minute, e.afterRefusal(login))
	}
	assert.Equal(t, time.Minute, e.afterRefusal(&refusal{what: "certificate"}), "somebody is about to mend it")
	assert.Zero(t, e.afterRefusal(errors.New("else")))
}

// TestOrphan: a worker ends with its stdin, whatever an endpoint is in.
func TestOrphan(t *testing.T) {
	w := &worker{endpoints: map[uint32]*endpoint{}, out: newSender(sendLimit)}
	spins := make(chan struct{})
	w.wait.Go(func() { <-spins })
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- w.run(strings.NewReader(""), io.Discard) }()
	select {
	case err := <-ended:
		assert.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(began), lastWords)
	case <-time.After(lastWords + 5*time.Second):
		assert.Fail(t, "the worker does not end")
	}
	close(spins)
	w.wait.Wait()
}
