package nats

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// BenchmarkSend compares Send, in batches of 256, with nats.go's own
// asynchronous publisher of the same messages, with as many under way. They take turns in one
// run, so that the ratio does not depend on the machine. The budget is a ratio
// of at least 0.8.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{200, 1000, 8000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) { benchmarkSend(b, size) })
	}
}

func benchmarkSend(b *testing.B, size int) {
	const round = 16 * 256
	s := plant(b, natstest.Options{})
	u := uplink(b, config(b, s))
	nc, err := nats.Connect(s.URL(), nats.Secure(u.cfg.TLS))
	require.NoError(b, err)
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	require.NoError(b, err)
	batch := messages(1, 256, size)
	next := 0
	var ours, bare time.Duration
	total := 0
	b.SetBytes(round * int64(size))
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		for range round / len(batch) {
			number(batch, &next)
			n, err := u.Send(b.Context(), batch)
			require.NoError(b, err)
			require.Equal(b, len(batch), n)
		}
		ours += time.Since(start)
		b.StopTimer()
		start = time.Now()
		for range round / len(batch) {
			number(batch, &next)
			publishBare(b, js, batch)
		}
		<-js.PublishAsyncComplete()
		bare += time.Since(start)
		purge(b, s)
		total += round
		b.StartTimer()
	}
	b.ReportMetric(float64(total)/ours.Seconds(), "msg/s")
	b.ReportMetric(float64(total)/bare.Seconds(), "bare-msg/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "ratio")
}

func number(batch []envelope.Message, next *int) {
	for i := range batch {
		*next++
		m := message(*next, 0)
		batch[i].Sequence, batch[i].ID = m.Sequence, m.ID
	}
}

func publishBare(b *testing.B, js jetstream.JetStream, batch []envelope.Message) {
	for i := range batch {
		m := nats.Msg{Subject: Subject(testPrefix, batch[i].Address), Data: batch[i].Body, Header: Header(&batch[i])}
		if _, err := js.PublishMsgAsync(&m, jetstream.WithStallWait(long)); err != nil {
			b.Fatal(err)
		}
	}
}
