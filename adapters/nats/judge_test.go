package nats

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	answer := func(s string) error { return judge(&nats.Msg{Data: []byte(s)}, testStream) }
	for _, stored := range []string{
		`{"stream":"PLANT", "seq":17}`,
		`{"stream":"PLANT", "seq":17,"duplicate": true}`,
		`{"stream":"PLANT","domain":"leaf","seq":17}`,
	} {
		require.NoError(t, answer(stored), stored)
	}
	require.True(t, plainAck([]byte(`{"stream":"PLANT", "seq":17}`), testStream), "the usual one needs no decoding")

	requireFault(t, answer(`{"stream":"PLANT2", "seq":17}`), `the stream "PLANT2" instead of "PLANT"`)
	requireFault(t, answer(`{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"},"stream":"PLANT","seq":0}`), "do not belong")
	requireFault(t, answer(`{"error":{"code":400,"err_code":10109,"description":"sealed"},"stream":"PLANT"}`), "sealed")
	requireFault(t, answer(`{"error":{"code":503,"err_code":10076,"description":"JetStream not enabled"}}`), "JetStream is off")
	requireFault(t, answer(`{"error":{"code":400,"err_code":19999,"description":"something new"}}`), "something new")
	requireRefused(t, answer(`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`), "maximum allowed")
	requireTransient(t, answer(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`), "has room")
	requireTransient(t, answer(`{"error":{"code":400,"err_code":10002,"description":"resource limits exceeded for account"}}`), "has room")
	requireTransient(t, answer(`{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"}}`), "in process")
	requireTransient(t, answer(`{"error":{"code":500,"err_code":10023,"description":"insufficient resources"}}`), "insufficient")
	for _, garbage := range []string{``, `{`, `{}`, `{"stream":"PLANT", "seq":}`, `{"stream":"PLANT", "seq":1`, `"PLANT"`} {
		requireTransient(t, answer(garbage), "")
	}
	require.ErrorIs(t, judge(&nats.Msg{Header: nats.Header{"Status": {"503"}}}, testStream), errNobody)
}
