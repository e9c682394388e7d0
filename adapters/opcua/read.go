package opcua

import (
	"errors"
	"fmt"

	"github.com/gopcua/opcua/ua"
)

// readItems reads items, in calls that the server allows.
func (s *session) readItems(items []*item) error {
	s.search = maxSearch
	for from := 0; from < len(items); {
		to, size := from, 0
		for to < len(items) && to-from < s.maxRead {
			if size += itemOverhead + items[to].size(); size > s.ch.room() && to > from {
				break // an answer is one chunk, like a message of a subscription
			}
			to++
		}
		if err := s.readCall(items[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// size is the greatest size of a value on the wire.
func (it *item) size() int {
	if it.typ.sized() {
		return it.limit
	}
	return 8
}

// readCall reads items in one call. Where the answer is too large, or cannot be
// decoded, the items are divided until the one at fault is found.
func (s *session) readCall(items []*item) error {
	nodes := make([]*ua.NodeID, len(items))
	for i, it := range items {
		nodes[i] = it.node
	}
	s.mu.Lock()
	notices := s.notices
	s.mu.Unlock()
	values, err := s.read(nodes)
	if err != nil {
		if s.isBroken(err) {
			return err
		}
		if s.divide(items, err) {
			if err := s.readCall(items[:len(items)/2]); err != nil {
				return err
			}
			return s.readCall(items[len(items)/2:])
		}
		s.refuseAll(items, err, "the server gives what cannot be decoded")
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, it := range items {
		if v := values[i]; v != nil && unknownNode(v.Status) {
			s.refuse(it, refusedNode(it.name, v.Status), quality(v.Status))
			continue
		}
		s.answered(it, values[i], notices)
	}
	s.flushAll(items)
	return nil
}

// divide tells whether a call for the items that failed is worth trying with each
// half of them. There are so many such calls in one round; one that was waited for
// in vain counts for several.
func (s *session) divide(items []*item, err error) bool {
	if len(items) < 2 || s.search <= 0 {
		return false
	}
	s.search--
	if errors.Is(err, ua.StatusBadTimeout) {
		s.search -= maxSearch / 4
	}
	return true
}

// refuseAll notes that a call for the items failed. fallback says why, where the
// server gave no status.
func (s *session) refuseAll(items []*item, err error, fallback string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var status ua.StatusCode
	for _, it := range items {
		if errors.As(err, &status) {
			s.refuse(it, refusedNode(it.name, status), asBad(status))
		} else {
			s.refuse(it, fmt.Sprintf("node %s: %s", it.name, fallback), badDecodingError)
		}
	}
	s.flushAll(items)
}

// unknownNode tells whether the status says that time does not help.
func unknownNode(status ua.StatusCode) bool {
	switch status {
	case ua.StatusBadNodeIDUnknown, ua.StatusBadNodeIDInvalid, ua.StatusBadAttributeIDInvalid, ua.StatusBadNotReadable,
		ua.StatusBadUserAccessDenied, ua.StatusBadSecurityModeInsufficient:
		return true
	}
	return false
}

func refusedNode(name string, status ua.StatusCode) string {
	switch status {
	case ua.StatusBadNodeIDUnknown, ua.StatusBadNodeIDInvalid:
		return fmt.Sprintf("the server has no node %s (%s)", name, statusName(status))
	case ua.StatusBadNotReadable, ua.StatusBadUserAccessDenied, ua.StatusBadSecurityModeInsufficient:
		return fmt.Sprintf("the server does not let us read node %s (%s)", name, statusName(status))
	}
	return fmt.Sprintf("node %s: %s", name, statusName(status))
}
