package opcua

import (
	"errors"
	"fmt"

	"github.com/gopcua/opcua/ua"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// readItems reads items, in calls that the server allows.
func (s *session) readItems(items []*item) error {
	s.search = maxSearch
	for from := 0; from < len(items); {
		to, size := from, 0
		for to < len(items) && to-from < s.maxRead && size < maxAnswer {
			size += 64 + items[to].size()
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
	values, err := s.read(nodes)
	if err != nil {
		if s.isBroken(err) {
			return err
		}
		if len(items) > 1 && s.search > 0 {
			s.search--
			if err := s.readCall(items[:len(items)/2]); err != nil {
				return err
			}
			return s.readCall(items[len(items)/2:])
		}
		s.refuseAll(items, err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, it := range items {
		if v := values[i]; v != nil && unknownNode(v.Status) {
			s.refuse(it, refusedNode(it.name, v.Status), point.Quality(v.Status))
			continue
		}
		s.arrived(it, values[i], true)
	}
	s.flushAll(items)
	return nil
}

// refuseAll notes that a call for the items failed.
func (s *session) refuseAll(items []*item, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var status ua.StatusCode
	for _, it := range items {
		if errors.As(err, &status) {
			s.refuse(it, refusedNode(it.name, status), point.Quality(status)|point.Bad)
		} else {
			s.refuse(it, fmt.Sprintf("node %s gives what cannot be decoded", it.name), badDecodingError)
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
