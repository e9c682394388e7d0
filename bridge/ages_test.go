package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAges(t *testing.T) {
	began, segment := time.Unix(1_785_000_000, 0), time.Unix(1_784_000_000, 0)
	a := ages{before: 100}
	assert.Equal(t, segment, a.oldest(99, segment), "of an earlier process")
	for i := range 5000 {
		a.accepted(uint64(110+10*i), began.Add(time.Duration(i)*time.Second))
	}
	assert.LessOrEqual(t, len(a.commits), maxAges)
	assert.Equal(t, began, a.oldest(100, segment))
	for freed := uint64(100); freed < 50_000; freed += 777 {
		was := began.Add(time.Duration((freed-100)/10) * time.Second)
		got := a.oldest(freed, segment)
		assert.False(t, got.After(was))
		assert.WithinDuration(t, was, got, 5*time.Minute)
	}
	assert.Equal(t, segment, a.oldest(60_000, segment))
}
