package coap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

func TestCheckMachine(t *testing.T) {
	for _, c := range []struct {
		change func(*Machine)
		want   string // of the first problem; empty: there is none
	}{
		{func(*Machine) {}, ""},
		{func(m *Machine) { m.Device = Device{CertificateSHA256: [32]byte{1}} }, ""},
		{func(m *Machine) { m.Device = Device{CertificateName: "pump-4.plant"} }, ""},
		{func(m *Machine) { m.Device = Device{} }, "nothing says which device it is"},
		{func(m *Machine) { m.Device.CertificateName = "x" }, "the device is named in more than one way"},
		{func(m *Machine) { m.Device.Credential = "" }, "identity or key is missing"},
		{func(m *Machine) { m.Device.Identity = "" }, "identity or key is missing"},
		{func(m *Machine) { m.Device.Identity = strings.Repeat("x", 129) }, "the identity is no text of at most 128 bytes"},
		{func(m *Machine) { m.Device.Identity = "a\x00b" }, "the identity is no text of at most 128 bytes"},
		{func(m *Machine) { m.Device = Device{CertificateName: "Pump"} }, "the name of the certificate is none that a certificate has"},
		{func(m *Machine) { m.Silence = time.Millisecond }, "a silence of 1ms is outside 1s–168h"},
		{func(m *Machine) { m.Points[1].Path = "/vibration" }, "the path is that of vibration already"},
		{func(m *Machine) { m.Points[0].Path = "vibration" }, "the path is none that begins with / and has at most 255 letters"},
		{func(m *Machine) { m.Points[0].Path = "/" }, "the path has an empty part, or one of dots"},
		{func(m *Machine) { m.Points[0].Path = "/a/../b" }, "the path has an empty part, or one of dots"},
		{func(m *Machine) { m.Points[0].Path = "/a b" }, "the path has a letter other than A–Z, a–z, 0–9, - . _ ~"},
		{func(m *Machine) { m.Points[0].Path = "/a%2fb" }, "the path has a letter other than A–Z, a–z, 0–9, - . _ ~"},
		{func(m *Machine) { m.Points[0].MaxBytes = point.MaxValueSize + 1 }, "65537 bytes are outside 1–65536"},
		{func(m *Machine) { m.Points[0].Passthrough = "" }, "the point is not passthrough: this is for what devices encrypt themselves"},
		{func(m *Machine) { m.Points[1].Name = "vibration" }, "the name is there twice"},
		{func(m *Machine) { m.Points[1].Name = "" }, "point 2 has no name"},
	} {
		m := sensor("one")
		c.change(m)
		found := m.Check()
		if c.want == "" {
			assert.Empty(t, found)
			continue
		}
		if assert.NotEmpty(t, found, c.want) {
			assert.Equal(t, c.want, found[0].What)
		}
	}
	one, two := sensor("one"), sensor("two")
	assert.Empty(t, CheckShared([]*Machine{one, two}))
	two.Device = one.Device
	assert.Equal(t, "two: the device is that of one already", CheckShared([]*Machine{one, two})[0].What)
}

func TestCheckSpec(t *testing.T) {
	for _, good := range []string{"0.0.0.0:5684", "[::]:5684", "[fd00::1]:5684"} {
		assert.Empty(t, (&Spec{Listen: good}).Check(), good)
	}
	for _, bad := range []string{"", "5684", ":5684", "gateway:5684", "10.0.0.1", "10.0.0.1:70000", "coaps://10.0.0.1:5684"} {
		assert.Len(t, (&Spec{Listen: bad}).Check(), 1, bad)
	}
	_, err := New(Spec{}, Options{})
	var config *point.ConfigError
	require.ErrorAs(t, err, &config)
}

// TestAttachNeedsWhatTheDeviceNeeds shows what an endpoint must have.
func TestAttachNeedsWhatTheDeviceNeeds(t *testing.T) {
	s, err := New(Spec{Listen: "127.0.0.1:0"}, Options{})
	require.NoError(t, err)
	attach := func(d Device) string {
		m := sensor("one")
		m.Device = d
		err := s.Attach(point.Machine{Name: "one", Spec: m}, newRecorder(t))
		var config *point.ConfigError
		require.ErrorAs(t, err, &config)
		return err.Error()
	}
	assert.Contains(t, attach(Device{CertificateSHA256: [32]byte{1}}), "the gateway has none for it")
	assert.Contains(t, attach(Device{Identity: "x", Credential: "k"}), "cannot use the key credential:k: there are no credentials")
	s.key = func(string) (Secret, error) { return "short", nil }
	assert.Contains(t, attach(Device{Identity: "x", Credential: "k"}), "shorter than 16 bytes")
}

func TestParseKey(t *testing.T) {
	key, err := ParseKey("00112233445566778899aABBCCDDEEFF")
	require.NoError(t, err)
	assert.Len(t, string(key), 16)
	for _, bad := range []Secret{"", "secret password of mine", "0011", "00112233445566778899aabbccddee", "00000000000000000000000000000000", Secret(strings.Repeat("ab", 65))} {
		_, err := ParseKey(bad)
		require.Error(t, err)
		if bad != "" {
			assert.NotContains(t, err.Error(), string(bad))
		}
	}
}

func TestSecretsHide(t *testing.T) {
	s := Secret("top secret")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", s, "in", struct{ K Secret }{s})
	j, err := json.Marshal(struct{ K Secret }{s})
	require.NoError(t, err)
	all := log.String() + string(j) + fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s)
	assert.NotContains(t, all, "top")
	assert.NotContains(t, all, "746f70")
	assert.Contains(t, all, "<secret>")
	assert.Equal(t, "<none>", fmt.Sprint(Secret("")))
}

// TestWhatIsSaidOfAnIdentity shows that a key that stands in the place of the
// identity is in no error.
func TestWhatIsSaidOfAnIdentity(t *testing.T) {
	s, err := New(Spec{Listen: "127.0.0.1:0"}, Options{})
	require.NoError(t, err)
	_, err = keyOf(s, nil)([]byte("swapped key"))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "swapped")
}

func TestLogIsNotFlooded(t *testing.T) {
	var s said
	now := time.Now()
	lines := 0
	for i := range 1000 {
		if _, ok := s.may(now.Add(time.Duration(i) * time.Millisecond)); ok {
			lines++
		}
	}
	assert.Equal(t, 1, lines)
	kept, ok := s.may(now.Add(time.Second))
	assert.True(t, ok)
	assert.Equal(t, uint64(999), kept)
}
