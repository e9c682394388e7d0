package configs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mistakes are the files of testdata/mistakes, each with one mistake or with
// some that belong together, and all that is said about them. A file takes the
// place of one in testdata/good; a folder is laid over all of it.
var mistakes = []struct {
	file string
	want []string
}{
	{"gateway-certificate.yaml", []string{`gateway.yaml:16:20: 'certificate' is no reference to a keystore; write keystore:NAME; secrets are never in these files`}},
	{"gateway-glob.yaml", []string{`gateway.yaml:6:11: 'machines/[.yaml' is no file pattern; write a pattern such as machines/*.yaml`}},
	{"gateway-header.yaml", []string{`gateway.yaml:1:12: unknown version 'gateway/v2'; write fieldseal: gateway/v1, or use the fieldseal that it is for`}},
	{"gateway-max-age.yaml", []string{`gateway.yaml:18:37: 'max_age' is no duration; write a duration such as 7d`}},
	{"gateway-metrics-port.yaml", []string{`gateway.yaml:19:19: '127.0.0.1' is no address with a port; write listen: "127.0.0.1:9464" or listen: unix:/run/fieldseal/metrics.sock`}},
	{"gateway-metrics-public.yaml", []string{`gateway.yaml:19:19: '0.0.0.0:9464' is not a loopback address: metrics have neither encryption nor login; write listen: "127.0.0.1:9464" or listen: unix:/run/fieldseal/metrics.sock`}},
	{"gateway-metrics-socket.yaml", []string{`gateway.yaml:19:19: 'listen' is no absolute path of a socket; write listen: "127.0.0.1:9464" or listen: unix:/run/fieldseal/metrics.sock`}},
	{"gateway-name.yaml", []string{`gateway.yaml:2:10: 'GW_1' is no name; write gw-1: names are lower case letters, digits and dashes`}},
	{"gateway-no-machines.yaml", []string{`gateway.yaml:6:11: 'maschinen/*.yaml' matches no file: the gateway polls nothing; write a file for each machine, or correct the pattern`}},
	{"gateway-no-uplink.yaml", []string{`gateway.yaml:10:9: 'uplinks' is empty; write a list: [a, b]`}},
	{"gateway-not-honoured.yaml", []string{
		`gateway.yaml:18:19: 'dtls' is understood but not honoured by this version; remove it`,
		`gateway.yaml:19:20: 'files' is understood but not honoured by this version; remove it`,
		`gateway.yaml:20:5: a second uplink is understood but not honoured by this version; remove it`,
		`gateway.yaml:21:1: 'lines' is understood but not honoured by this version; remove it`,
		`gateway.yaml:22:1: 'console' is understood but not honoured by this version; remove it`,
	}},
	{"gateway-not-in-trust.yaml", []string{`gateway.yaml:2:10: the trust file does not list the gateway 'gw-2'; add it there: nobody could tell who sent its data`}},
	{"gateway-outbox-full.yaml", []string{`gateway.yaml:18:52: unknown rule 'drop-newest'; write drop-oldest or stop-polling`}},
	{"gateway-outbox-missing.yaml", []string{`gateway.yaml:1:1: 'outbox' is missing; write outbox: {max_size: 512MiB, max_age: 7d, when_full: drop-oldest}`}},
	{"gateway-outbox-number.yaml", []string{`gateway.yaml:18:20: 'max_size' is no size: the units are KiB, MiB and GiB; write max_size: 512MiB`}},
	{"gateway-outbox-size.yaml", []string{`gateway.yaml:18:20: 'max_size' is no size: the units are KiB, MiB and GiB; write max_size: 512MiB`}},
	{"gateway-outbox-small.yaml", []string{`gateway.yaml:18:20: 'max_size' is less than the 16MiB that the outbox needs; write max_size: 512MiB`}},
	{"gateway-policy-missing.yaml", []string{`gateway.yaml:4:9: cannot read 'polcy.yaml': there is no such file; write its path from this file's folder`}},
	{"gateway-prefix.yaml", []string{`gateway.yaml:15:15: 'plant..augsburg' is no prefix; write letters, digits, dashes and underscores, with single dots between`}},
	{"gateway-servers-password.yaml", []string{`gateway.yaml:13:17: item 1 of 'servers' has a user or password in it; write tls://HOST:PORT; the gateway shows its certificate, and secrets are never in these files`}},
	{"gateway-servers-path.yaml", []string{`gateway.yaml:13:17: item 1 of 'servers' has more than a host and a port; write tls://HOST:PORT`}},
	{"gateway-servers-plain.yaml", []string{`gateway.yaml:13:17: nats:// would connect without TLS where the server allows it; write tls://HOST:PORT`}},
	{"gateway-servers-scheme.yaml", []string{`gateway.yaml:13:45: item 2 of 'servers' has another scheme than tls://; write tls://HOST:PORT`}},
	{"gateway-servers-twice.yaml", []string{`gateway.yaml:13:45: the server is in the list already; write it once`}},
	{"gateway-stream.yaml", []string{`gateway.yaml:14:15: 'plant.>' is no stream name; write letters, digits, dashes and underscores`}},
	{"gateway-time-zone.yaml", []string{`gateway.yaml:3:12: unknown time zone 'Europe/Pariss'; write a name such as Europe/Berlin or UTC`}},
	{"gateway-trust-missing.yaml", []string{`gateway.yaml:1:1: 'trust' is missing; write trust: trust.yaml`}},
	{"gateway-unlock.yaml", []string{`gateway.yaml:9:20: 'unlock' is no reference to a credential; write credential:NAME; secrets are never in these files`}},
	{"gateway-uplink-kind.yaml", []string{
		`gateway.yaml:11:5: 'nats' is missing in item 1 of 'uplinks'; write nats: with servers, stream, prefix, certificate and trust`,
		`gateway.yaml:12:5: unknown key 'mqtt'; write name or nats`,
	}},
	{"gateway-uplink-trust-empty.yaml", []string{`gateway.yaml:17:14: 'historian.pub' has no certificate in it; write the file of the certificates that servers must lead to, in PEM`}},
	{"gateway-uplink-trust-missing.yaml", []string{`gateway.yaml:17:14: cannot read 'trust/none.pem': there is no such file; write its path from this file's folder`}},
	{"machine-about-invisible.yaml", []string{`machines/press-3.yaml:4:8: 'about' has a line break or another invisible character in it; write it on one line, without them`}},
	{"machine-alias.yaml", []string{`machines/press-3.yaml:6:42: aliases (*) and anchors (&) are not used in these files; write the value out; a text that begins with one of them goes in quotes`}},
	{"machine-at-bare.yaml", []string{`machines/press-3.yaml:6:23: a bare 100 does not say which register; write holding/100 for the address on the wire (from 0; the same as reg/101 or 40101), or reg/100 if the list counts from 1`}},
	{"machine-at-leading-zero.yaml", []string{`machines/press-3.yaml:6:23: "040101" has leading zeros: YAML programs read them in different ways; write coil/40100 for this coil`}},
	{"machine-at-list.yaml", []string{`machines/press-3.yaml:6:23: 'at' is a list; write holding/100, 40101 or reg/101`}},
	{"machine-at-missing.yaml", []string{`machines/press-3.yaml:6:5: 'at' is missing in item 1 of 'points'; write at: holding/100, 40101 or reg/101`}},
	{"machine-bits-coil.yaml", []string{`machines/press-3.yaml:6:53: point 'force-a': coil/100 is one bit and has no bits; leave the bit out`}},
	{"machine-bits-name-taken.yaml", []string{`machines/press-3.yaml:7:60: the point 'force-a' is on line 6 already; write another name`}},
	{"machine-bits-range.yaml", []string{`machines/press-3.yaml:6:57: the bit is out of range; write a number from 0 to 15`}},
	{"machine-bits-scale.yaml", []string{`machines/press-3.yaml:6:50: 'scale' does not apply to bits; remove it`}},
	{"machine-bits-twice.yaml", []string{`machines/press-3.yaml:6:63: bit 1 is there already; write it once`}},
	{"machine-bits-type.yaml", []string{`machines/press-3.yaml:6:56: 'bits' are those of one register, and this is of type uint32; write type: uint16`}},
	{"machine-connect-line.yaml", []string{`machines/press-3.yaml:3:10: 'line' is understood but not honoured by this version; remove it`}},
	{"machine-connect-missing.yaml", []string{`machines/press-3.yaml:3:9: 'connect' is missing in 'modbus'; write connect: tcp://HOST:502`}},
	{"machine-connect-scheme.yaml", []string{`machines/press-3.yaml:3:19: rtu:// is understood but not honoured yet; this version reads tcp:// only`}},
	{"machine-connect-tls.yaml", []string{
		`machines/press-3.yaml:3:19: tls:// is understood but not honoured yet; this version reads tcp:// only`,
		`machines/press-3.yaml:3:43: 'certificate' is understood but not honoured by this version; remove it`,
		`machines/press-3.yaml:3:73: 'trust' is understood but not honoured by this version; remove it`,
	}},
	{"machine-deadband-bool.yaml", []string{`machines/press-3.yaml:6:64: 'deadband' is for numbers, and this is none; leave it out: each change is sent`}},
	{"machine-deadband-nan.yaml", []string{`machines/press-3.yaml:6:68: 'deadband' is no finite decimal number; write a number such as 0.1 or 12`}},
	{"machine-deadband-negative.yaml", []string{`machines/press-3.yaml:6:68: 'deadband' is less than 0; write how much a value must change to be sent`}},
	{"machine-duplicate-key.yaml", []string{`machines/press-3.yaml:4:1: duplicate key 'machine'; it is on line 2 already: write it once`}},
	{"machine-empty-value.yaml", []string{`machines/press-3.yaml:4:6: 'poll' is empty; write a mapping of keys and values`}},
	{"machine-empty.yaml", []string{`machines/press-3.yaml: the file is empty`}},
	{"machine-header-kind.yaml", []string{`machines/press-3.yaml:1:12: this is a policy file, where one of kind machine belongs; name another file, or write fieldseal: machine/v1`}},
	{"machine-header-missing.yaml", []string{`machines/press-3.yaml:1:1: 'fieldseal' is missing; write fieldseal: machine/v1 as the first line`}},
	{"machine-header-unknown.yaml", []string{`machines/press-3.yaml:1:12: unknown kind of file 'maschine/v1'; write fieldseal: machine/v1`}},
	{"machine-header-version.yaml", []string{`machines/press-3.yaml:1:12: unknown version 'machine/v2'; write fieldseal: machine/v1, or use the fieldseal that it is for`}},
	{"machine-heartbeat-short.yaml", []string{`machines/press-3.yaml:6:74: 'at_least_every' is shorter than the poll period 1s; poll faster, or write a longer time`}},
	{"machine-invalid-negative.yaml", []string{`machines/press-3.yaml:6:58: 'invalid' is out of range; write the raw value, such as 0x8000`}},
	{"machine-invalid-wide.yaml", []string{`machines/press-3.yaml:6:58: point 'force': 0x18000 is wider than the 16 bits of int16; write 4 hexadecimal digits at most`}},
	{"machine-invert-text.yaml", []string{`machines/press-3.yaml:6:53: 'invert' is a text; write true or false`}},
	{"machine-key-mapping.yaml", []string{`machines/press-3.yaml:4:1: the key is a mapping; write a word`}},
	{"machine-level-unknown.yaml", []string{`machines/press-3.yaml:6:62: unknown level 'restrictd'; did you mean 'restricted'?`}},
	{"machine-machines-file.yaml", []string{`machines/press-3.yaml:1:12: a machines file (one template for many machines) is understood but not honoured by this version; remove it`}},
	{"machine-modbus-text.yaml", []string{`machines/press-3.yaml:3:9: 'modbus' is a text; write a mapping of keys and values`}},
	{"machine-name-long.yaml", []string{`machines/press-3.yaml:2:10: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…' is longer than 64 letters; write a shorter name`}},
	{"machine-name-missing.yaml", []string{`machines/press-3.yaml:1:1: 'machine' is missing; write machine: NAME`}},
	{"machine-name.yaml", []string{`machines/press-3.yaml:2:10: 'Press 3' is no name; write press-3: names are lower case letters, digits and dashes`}},
	{"machine-no-points.yaml", []string{`machines/press-3.yaml:5:9: 'points' is an empty list; write at least one`}},
	{"machine-not-a-mapping.yaml", []string{`machines/press-3.yaml:1:1: the file is a list; write a mapping of keys and values`}},
	{"machine-opcua.yaml", []string{`machines/press-3.yaml:3:1: 'opcua' is understood but not honoured by this version; remove it`}},
	{"machine-order.yaml", []string{`machines/press-3.yaml:3:62: there is no order "cdab"; write CDAB`}},
	{"machine-overlap.yaml", []string{`machines/press-3.yaml:7:23: point 'speed': holding/101 lies within force, which is 2 registers from holding/100; correct the address, the type or the length of one of them`}},
	{"machine-passthrough-format.yaml", []string{`machines/press-3.yaml:6:71: unknown format 'pgp'; write cose, jwe or opaque`}},
	{"machine-passthrough-jwe.yaml", []string{`machines/press-3.yaml:6:71: 'passthrough: jwe' is understood but not honoured by this version; remove it`}},
	{"machine-passthrough-nobody.yaml", []string{`machines/press-3.yaml:6:5: 'readable_by' is missing in item 1 of 'points'; name who the device encrypts it for`}},
	{"machine-passthrough-type.yaml", []string{`machines/press-3.yaml:6:60: a passthrough payload is of type bytes, not int16; write type: bytes`}},
	{"machine-point-name.yaml", []string{`machines/press-3.yaml:6:12: 'Ram_Force' is no name; write ram-force: names are lower case letters, digits and dashes`}},
	{"machine-point-twice.yaml", []string{`machines/press-3.yaml:7:12: the point 'force' is on line 6 already; write another name`}},
	{"machine-points-mapping.yaml", []string{`machines/press-3.yaml:6:3: 'points' is a mapping; write a list: [a, b]`}},
	{"machine-points-missing.yaml", []string{`machines/press-3.yaml:1:1: 'points' is missing; write the list of points`}},
	{"machine-poll-no-normal.yaml", []string{`machines/press-3.yaml:6:5: the point has no poll class, and there is none called normal; write poll: fast, or give the machine normal`}},
	{"machine-poll-short.yaml", []string{`machines/press-3.yaml:4:14: 'fast' is shorter than 10ms; write a duration such as 1s`}},
	{"machine-poll-unknown.yaml", []string{`machines/press-3.yaml:6:55: unknown poll class 'fsat'; did you mean 'fast'?`}},
	{"machine-readable-by-alone.yaml", []string{`machines/press-3.yaml:6:60: 'readable_by' is for what the device encrypts; remove it, or write passthrough: cose`}},
	{"machine-readable-by-unknown.yaml", []string{`machines/press-3.yaml:6:91: unknown recipient 'enginering'; did you mean 'engineering'? (the trust file lists them)`}},
	{"machine-reads.yaml", []string{
		`machines/press-3.yaml:3:78: 'max_registers' is out of range; write a number from 1 to 125`,
		`machines/press-3.yaml:3:95: a bare 900 does not say which register; write holding/900 for the address on the wire (from 0; the same as reg/901 or 40901), or reg/900 if the list counts from 1`,
	}},
	{"machine-scale-octal.yaml", []string{`machines/press-3.yaml:6:56: 'scale' is no finite decimal number; write a number such as 0.1 or 12`}},
	{"machine-scale-same.yaml", []string{`machines/press-3.yaml:6:62: both raw numbers are the same; write two different ones`}},
	{"machine-scale-text.yaml", []string{`machines/press-3.yaml:6:56: 'scale' is a text; write a number`}},
	{"machine-scale-three.yaml", []string{`machines/press-3.yaml:6:62: 'raw' is no list of two numbers; write raw: [0, 100]`}},
	{"machine-scale-zero.yaml", []string{`machines/press-3.yaml:6:56: point 'force': the scale is no line: its factor is 0, or a number is not finite; write scale: 0.1, or raw: and value: with two different numbers each`}},
	{"machine-second-document.yaml", []string{`machines/press-3.yaml:7:1: a second document begins here; write one file for each`}},
	{"machine-sensitivity-looser.yaml", []string{`machines/press-3.yaml:4:14: the machine's sensitivity 'public' is looser than the policy's default 'restricted'; label the points that may be less than restricted one by one`}},
	{"machine-several.yaml", []string{
		`machines/press-3.yaml:6:23: a bare 100 does not say which register; write holding/100 for the address on the wire (from 0; the same as reg/101 or 40101), or reg/100 if the list counts from 1`,
		`machines/press-3.yaml:6:34: there is no type "real"; write float32`,
		`machines/press-3.yaml:6:40: unknown key 'colour'; write name, at, type, order, bytes, invert, scale, valid, invalid, unit, poll, changes_with, sensitivity, passthrough, readable_by, bits or report`,
		`machines/press-3.yaml:7:5: 'name' is missing in item 2 of 'points'; write name: NAME`,
		`machines/press-3.yaml:7:5: 'type' is missing in item 2 of 'points'; write type: bool, int16, uint16, float32, …`,
	}},
	{"machine-string-length.yaml", []string{`machines/press-3.yaml:6:5: point 'force': the length is missing; write bytes: 1–250`}},
	{"machine-syntax.yaml", []string{`machines/press-3.yaml:5:15: not valid YAML: mapping values are not allowed in this context; look at quotes, colons and indentation here`}},
	{"machine-tag.yaml", []string{`machines/press-3.yaml:6:42: tags (!) are not used in these files; write the value alone; a text that begins with ! goes in quotes`}},
	{"machine-tags.yaml", []string{`machines/press-3.yaml:4:1: 'tags' is understood but not honoured by this version; remove it`}},
	{"machine-template.yaml", []string{`machines/press-3.yaml:4:1: 'template' is understood but not honoured by this version; remove it`}},
	{"machine-timeout-unit.yaml", []string{`machines/press-3.yaml:3:64: 'timeout' has no unit; write a duration such as 800ms`}},
	{"machine-timeout-word.yaml", []string{`machines/press-3.yaml:3:64: 'timeout' is no duration; write a duration such as 800ms`}},
	{"machine-type-missing-with-level.yaml", []string{
		`machines/press-3.yaml:6:5: 'type' is missing in item 1 of 'points'; write type: bool, int16, uint16, float32, …`,
		`machines/press-3.yaml:6:49: 'sensitivity' is a list; write a text`,
	}},
	{"machine-type-number.yaml", []string{`machines/press-3.yaml:6:42: 'type' is a number; write a text, in quotes`}},
	{"machine-type-unknown.yaml", []string{`machines/press-3.yaml:6:42: there is no type "real"; write float32`}},
	{"machine-unit-missing.yaml", []string{`machines/press-3.yaml:3:9: 'unit_id' is missing in 'modbus'; write unit_id: 1, or what the device is set to`}},
	{"machine-unit-number.yaml", []string{`machines/press-3.yaml:6:55: 'unit' is a number; write a text, in quotes`}},
	{"machine-unit-octal.yaml", []string{`machines/press-3.yaml:3:52: 'unit_id' has leading zeros; write a number such as 1`}},
	{"machine-unit-range.yaml", []string{`machines/press-3.yaml:3:52: 'unit_id' is out of range; write a number from 0 to 255`}},
	{"machine-unit-text.yaml", []string{`machines/press-3.yaml:3:52: 'unit_id' is a text; write a number`}},
	{"machine-unknown-alias.yaml", []string{`machines/press-3.yaml:3:52: aliases (*) and anchors (&) are not used in these files; write the value out; a text that begins with one of them goes in quotes`}},
	{"machine-unknown-key-far.yaml", []string{`machines/press-3.yaml:4:1: unknown key 'frequency'; write fieldseal, machine, about, modbus, poll, sensitivity or points`}},
	{"machine-unknown-key.yaml", []string{`machines/press-3.yaml:4:1: unknown key 'pol'; did you mean 'poll'?`}},
	{"machine-valid-reversed.yaml", []string{`machines/press-3.yaml:6:62: the first raw value is greater than the second; write the lower one first`}},
	{"machine-values.yaml", []string{
		`machines/press-3.yaml:6:49: 'values' is understood but not honoured by this version; remove it`,
		`machines/press-3.yaml:6:67: 'counter' is understood but not honoured by this version; remove it`,
	}},
	{"policy-accept-twice.yaml", []string{`policy.yaml:15:30: 'cose' is in the list already; write it once`}},
	{"policy-accept.yaml", []string{`policy.yaml:15:30: unknown format 'pgp'; write cose, jwe or opaque`}},
	{"policy-allow.yaml", []string{`policy.yaml:17:13: unknown exception 'connection-unencrypted'; write connection-not-encrypted or connection-not-authenticated`}},
	{"policy-authenticated.yaml", []string{
		`machines/press-3.yaml:5:12: level 'internal' asks for a connection that is authenticated, this one is any: oil-temperature, oil-level, alarms-overload, alarms-guard-open and pump-off stop; have it approved for a time: add this to 'exceptions' of the policy, with the reason
  - {allow: connection-not-authenticated, points: ["press-3/oil-temperature", "press-3/oil-level", "press-3/alarms-overload", "press-3/alarms-guard-open", "press-3/pump-off"], why: "", until: 2027-02-22}`,
	}},
	{"policy-clear-to.yaml", []string{`policy.yaml:6:37: 'to' is for sealed levels, and this one is clear; remove it, or write send: sealed`}},
	{"policy-connection-missing.yaml", []string{`policy.yaml:6:5: 'connection' is missing in item 1 of 'levels'; write any, authenticated or encrypted`}},
	{"policy-default-clear.yaml", []string{`policy.yaml:10:10: the default level 'public' sends in clear; name a level that seals: what nobody labelled must not leave in clear`}},
	{"policy-default-missing.yaml", []string{`policy.yaml:1:1: 'default' is missing; name the level of points that nobody labelled`}},
	{"policy-default-unknown.yaml", []string{`policy.yaml:10:10: unknown level 'restrict'; did you mean 'restricted'?`}},
	{"policy-hide.yaml", []string{
		`policy.yaml:8:91: 'hide' is understood but not honoured by this version; remove it`,
		`policy.yaml:10:1: 'events' is understood but not honoured by this version; remove it`,
	}},
	{"policy-if-readable.yaml", []string{`policy.yaml:15:57: unknown rule 'forward'; write seal or hold`}},
	{"policy-level-connection-order.yaml", []string{`policy.yaml:8:5: level 'restricted' asks less of the connection than 'internal' before it; put the least sensitive level first`}},
	{"policy-level-name.yaml", []string{`policy.yaml:9:12: 'Secret' is no name; write secret: names are lower case letters, digits and dashes`}},
	{"policy-level-order.yaml", []string{`policy.yaml:9:5: level 'secret' sends more openly than 'restricted' before it; put the least sensitive level first`}},
	{"policy-level-twice.yaml", []string{`policy.yaml:7:12: the level 'public' is on line 6 already; write another name`}},
	{"policy-no-match.yaml", []string{
		`policy.yaml:12:30: note: 'press-9/state' matches no point; correct the pattern, or remove it`,
		`policy.yaml:12:45: note: 'press-3/oil-*' is released, and no point of it is labelled with a level that sends in clear: they leave sealed; label them 'public' in the machine's file, or remove the release`,
		`policy.yaml:12:60: note: '*/r?m-force' is released, and no point of it is labelled with a level that sends in clear: they leave sealed; label them 'public' in the machine's file, or remove the release`,
		`policy.yaml:14:29: note: 'mixer-*/*' matches no point; correct the pattern, or remove it`,
		`policy.yaml:17:61: note: '*/recipe' matches no point; correct the pattern, or remove it`,
	}},
	{"policy-not-accepted.yaml", []string{
		`machines/press-3.yaml:23:18: note: point 'torque-log' is sealed like any other, although the device encrypts it: the policy does not accept 'cose'; add it to 'accept' under 'passthrough' of the policy`,
	}},
	{"policy-not-released.yaml", []string{
		`machines/press-3.yaml:15:63: note: point 'state' is labelled 'public', and the policy does not release it: it leaves as 'restricted'; add press-3/state to 'released' of the policy, or label it 'restricted'`,
	}},
	{"policy-pad-text.yaml", []string{`policy.yaml:8:85: 'pad' is a text; write true or false`}},
	{"policy-pattern.yaml", []string{`policy.yaml:12:15: pattern "press-3" has no slash; write machine/point, such as "press-3/*" or "*/press-3"`}},
	{"policy-raise-unknown.yaml", []string{`policy.yaml:14:37: unknown level 'top-secret'; write public, internal, restricted or secret`}},
	{"policy-readable-by.yaml", []string{
		`machines/press-3.yaml:24:18: note: point 'torque-log' is sealed like any other, although the device encrypts it: level 'restricted' is not for engineering; add them to its 'to', or have the device encrypt for historian only`,
	}},
	{"policy-recipient-unknown.yaml", []string{`policy.yaml:7:41: unknown recipient 'historan'; did you mean 'historian'? (the trust file lists them)`}},
	{"policy-revision.yaml", []string{`policy.yaml:3:11: 'revision' is out of range; write a number from 1 to 2147483647`}},
	{"policy-sealed-to-nobody.yaml", []string{`policy.yaml:7:5: 'to' is missing in item 2 of 'levels'; name who can open what this level sends`}},
	{"policy-send.yaml", []string{`policy.yaml:9:26: unknown way to send 'witheld'; write clear, sealed or withheld`}},
	{"policy-to-twice.yaml", []string{`policy.yaml:7:52: 'historian' is in the list already; write it once`}},
	{"policy-until-impossible.yaml", []string{`policy.yaml:17:109: 'until' is no date; write a day such as 2027-03-31`}},
	{"policy-until-missing.yaml", []string{`policy.yaml:17:5: 'until' is missing in item 1 of 'exceptions'; write its last day, such as until: 2027-03-31`}},
	{"policy-until-past.yaml", []string{
		`policy.yaml:17:109: the exception 'connection-not-encrypted' (policy.yaml:17) ended with 2026-11-21: press-3/ram-force and press-3/program-name stop; remove it, or have a later day approved`,
	}},
	{"policy-until-unneeded.yaml", []string{
		`policy.yaml:18:104: note: the exception 'connection-not-authenticated' (policy.yaml:18) ended with 2026-10-31: no point needs it; remove it`,
		`policy.yaml:19:93: note: the exception 'connection-not-encrypted' (policy.yaml:19) ended with 2026-10-31: no point needs it; remove it`,
	}},
	{"policy-until.yaml", []string{`policy.yaml:17:109: 'until' is no date; write a day such as 2027-03-31`}},
	{"policy-why-empty.yaml", []string{`policy.yaml:12:36: 'why' is an empty text; write the reason, for those who approve it`}},
	{"policy-why-missing.yaml", []string{`policy.yaml:12:5: 'why' is missing in item 1 of 'released'; write the reason, for those who approve it`}},
	{"tree-bits", []string{
		`machines/a.yaml:5:29: point 'temperature' (and 1 more) has level 'internal' here, and 'restricted' as 'program-name' in machines/press-3.yaml, which reads the same registers of the same machine; give it the same sensitivity in both, or read it in one`,
		`machines/press-3.yaml:7:82: note: point 'alarms-guard' is labelled 'public', and the policy does not release it: it leaves as 'restricted'; add press-3/alarms-guard to 'released' of the policy, or label it 'restricted'`,
	}},
	{"tree-broken-neighbour", []string{ // which has the name first, but does not start
		`machines/a.yaml:2:10: the machine 'press-3' is in machines/press-3.yaml already; write another name`,
		`machines/a.yaml:3:19: the timeout is 2s here, and 1s in machines/press-3.yaml, for one connection; write the same timeout in both`,
		`machines/a.yaml:3:68: unknown key 'colour'; write connect, timeout, unit_id, order or reads`,
	}},
	{"tree-connection", []string{
		`machines/a.yaml:3:31: level 'restricted' asks for a connection that is encrypted, this one is any: force and stroke stop; have it approved for a time: add this to 'exceptions' of the policy, with the reason
  - {allow: connection-not-encrypted, points: ["press-2/force", "press-2/stroke"], why: "", until: 2027-02-22}`,
		`machines/b.yaml:3:31: level 'restricted' asks for a connection that is encrypted, this one is any: zone-1, zone-2, zone-3, zone-4, zone-5 and 2 more stop; have it approved for a time: add this to 'exceptions' of the policy, with the reason
  - {allow: connection-not-encrypted, points: ["press-1/*"], why: "", until: 2027-02-22}`,
	}},
	{"tree-machine-twice", []string{`machines/press-3.yaml:2:10: the machine 'press-3' is in machines/a.yaml already; write another name`}},
	{"tree-same-registers", []string{
		`machines/a.yaml:5:23: point 'state' (and 1 more) has level 'internal' here, and 'restricted' as 'program-name' in machines/press-3.yaml, which reads the same registers of the same machine; give it the same sensitivity in both, or read it in one`,
	}},
	{"tree-same-unit", []string{
		`machines/press-3.yaml:3:19: note: the machine 'press-2' reads the same unit of the same address; a label there does not bind points here: give each register one sensitivity`,
	}},
	{"tree-template", []string{`templates/a.yaml:1:12: a template file is understood but not honoured by this version; remove it`}},
	{"tree-timeouts", []string{`machines/press-3.yaml:3:19: the timeout is 2s here, and 1s in machines/a.yaml, for one connection; write the same timeout in both`}},
	{"trust-expired.yaml", []string{`gateway.yaml:2:10: note: the trust file lists the gateway 'gw-1' until 2026-11-20, which is past; receivers refuse what it signs: write a later day there`}},
	{"trust-gateway-name.yaml", []string{
		`gateway.yaml:2:10: the trust file does not list the gateway 'gw-1'; add it there: nobody could tell who sent its data`,
		`trust.yaml:4:3: 'GW-1' is no name; write gw-1: names are lower case letters, digits and dashes`,
	}},
	{"trust-key-missing.yaml", []string{`trust.yaml:6:29: cannot read 'keys/historian-2.pub': there is no such file; write its path from this file's folder`}},
	{"trust-no-recipients.yaml", []string{`trust.yaml:5:13: 'recipients' is empty; write at least one`}},
	{"trust-only-nobody.yaml", []string{
		`machines/press-3.yaml:2:10: nobody may read level 'restricted' of this machine (ram-force, program-name and torque-log): 'only' in the trust file keeps engineering from it; add "press-3/*" to 'only' of one of them there`,
	}},
	{"trust-only.yaml", []string{`trust.yaml:6:132: pattern 'press-*/state' names points; write machines with all their points, such as "press-*/*"`}},
	{"trust-revision-text.yaml", []string{`trust.yaml:2:11: 'revision' is a text; write a number`}},
	{"trust-same-key.yaml", []string{`trust.yaml:5:9: gateway 'gw-9' has the signing key of 'gw-1'; write its own: receivers could not tell the two apart`}},
	{"trust-sha256.yaml", []string{`trust.yaml:6:57: 'sha256' is not that of 'keys/historian.pub'; compare with what its owner says: this file has 4e7410cf45bf7df86170dca889c7870667c8aaead2b67c9a3998d2865751085c`}},
	{"trust-signing-key-kind.yaml", []string{`trust.yaml:4:23: 'signing_key' is no Ed25519 public key: ed25519: and 32 bytes in base64; write signing_key: "ed25519:…", as fieldseal keys list shows it`}},
	{"trust-signing-key.yaml", []string{`trust.yaml:4:23: 'signing_key' is no Ed25519 public key: ed25519: and 32 bytes in base64; write signing_key: "ed25519:…", as fieldseal keys list shows it`}},
	{"trust-until-missing.yaml", []string{`trust.yaml:4:9: 'until' is missing in 'gw-1'; write the last day of its key, such as until: 2028-12-31`}},
}

func TestMistakes(t *testing.T) {
	covered := map[string]bool{}
	for _, m := range mistakes {
		covered[m.file] = true
		t.Run(m.file, func(t *testing.T) {
			dir := overlay(t, filepath.Join("testdata/mistakes", m.file))
			c, problems := Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
			assert.Equal(t, m.want, texts(dir, problems))

			fatal := Fatal(problems)
			assert.Equal(t, fatal, c == nil)
			for _, p := range problems {
				machine := strings.Contains(p.File, "/machines/")
				assert.Equal(t, machine, p.Machine != "", "%v", p)
				if !p.Note && !p.Stops && !strings.Contains(p.File, "/templates/") {
					assert.Equal(t, !machine, p.Fatal, "%v", p)
				}
				assert.NotContains(t, p.String(), "hunter2", "a secret is quoted")
			}
			if c != nil { // the other machine goes on
				assert.Equal(t, "pump", c.Machines[len(c.Machines)-1].Name)
			}
		})
	}
	entries, err := os.ReadDir("testdata/mistakes")
	require.NoError(t, err)
	for _, e := range entries {
		assert.True(t, covered[e.Name()], "%s is not in the table", e.Name())
	}
}

// overlay lays a file or folder over a copy of testdata/good.
func overlay(t testing.TB, path string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/good")))
	require.NoError(t, filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		kind, _, _ := strings.Cut(filepath.Base(path), "-")
		to := strings.TrimPrefix(p, path)
		switch kind {
		case "gateway", "policy", "trust":
			to = kind + ".yaml"
		case "machine":
			to = "machines/press-3.yaml"
		}
		to = filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	}))
	return dir
}

// at fixes the clock to the noon of a day.
func at(day string) Options {
	now, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return Options{Now: func() time.Time { return now.Add(12 * time.Hour) }}
}

// texts gives problems as the operator sees them, without the folder.
func texts(dir string, problems []Problem) (texts []string) {
	for _, p := range problems {
		s := p.String()
		if dir != "" {
			s = strings.ReplaceAll(s, dir+"/", "")
		}
		texts = append(texts, s)
	}
	return texts
}
