package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"github.com/fieldseal/fieldseal/configs"
)

// fact is something about a connection that a comparison has to show, though the
// plan itself does not.
type fact struct {
	name, value string
	lets        bool // another value lets somebody else be at the other end
}

// machineFacts says who may be the machine, and as whom the gateway comes.
func machineFacts(m *configs.Machine) []fact {
	switch {
	case m.OPCUA != nil:
		e := &m.OPCUA.Endpoint
		user := "anonymous"
		if !e.User.Anonymous {
			user = e.User.Name + ", credential:" + m.OPCUA.Credential
		}
		return []fact{
			{"certificate of the server", "sha256:" + hex.EncodeToString(e.ServerSHA256[:]), true},
			{"security policy", e.Policy, true},
			{"certificate of the gateway", "keystore:" + m.OPCUA.Certificate, false},
			{"user", user, false},
		}
	case m.CoAP != nil:
		facts := []fact{{"authority of the device", digestOf(m.CoAP.Trust), true}}
		if d := &m.CoAP.Device; d.Credential != "" {
			facts = append(facts, fact{"key of the device", "credential:" + d.Credential, true})
		}
		if m.CoAP.Certificate != "" {
			facts = append(facts, fact{"certificate of the gateway", "keystore:" + m.CoAP.Certificate, false})
		}
		return facts
	}
	return nil
}

// uplinkFacts says where an uplink leads, and who may be there.
func uplinkFacts(u *configs.Uplink, folder string) []fact {
	switch {
	case u.NATS != nil:
		return []fact{
			{"servers", strings.Join(u.NATS.Servers, ", "), true},
			{"stream", u.NATS.Stream, true},
			{"prefix", u.NATS.Prefix, true},
			{"authority of the servers", digestOf(u.NATS.Trust), true},
			{"certificate of the gateway", "keystore:" + u.NATS.Certificate, true},
		}
	case u.DTLS != nil:
		return []fact{
			{"hubs", strings.Join(u.DTLS.Servers, ", "), true},
			{"stream", u.DTLS.Stream, true},
			{"prefix", u.DTLS.Prefix, true},
			{"authority of the hubs", digestOf(u.DTLS.Trust), true},
			{"certificate of the gateway", "keystore:" + u.DTLS.Certificate, true},
		}
	case u.Files != nil:
		return []fact{{"folder", within(folder, u.Files.Folder), true}}
	}
	return nil
}

// digestOf tells the content of a file from another one.
func digestOf(file string) string {
	if file == "" {
		return ""
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "a file that cannot be read"
	}
	sum := sha256.Sum256(b)
	return "file sha256:" + hex.EncodeToString(sum[:])
}

// within gives a path as the gateway file has it, so that it is the same in two
// folders.
func within(folder, path string) string {
	if rel, err := filepath.Rel(folder, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// nextApprovers gives the set of approvers that stands beside the policy, whoever
// signed it; empty where there is none.
func nextApprovers(c *configs.Config) string {
	b, _ := readIf(filepath.Join(filepath.Dir(c.PolicyFile), configs.ApproversFile))
	text, _, found := strings.Cut(string(b), "\n\n")
	if !found {
		return ""
	}
	return text + "\n"
}
