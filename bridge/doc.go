// Package bridge runs a gateway: it builds sources for the endpoints, attaches
// machines to them, commits what they read to the outbox and has the relay
// deliver it. It is the one place that switches on a protocol (wire.go).
//
//	source ─ Take ─▶ sink ─ drain ─▶ committer ─ Append ─▶ outbox ─▶ relay ─▶ uplink
//
// One machine's fault ends neither another machine nor the gateway.
package bridge
