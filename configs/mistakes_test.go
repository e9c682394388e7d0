package configs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	{"gateway-files-folder.yaml", []string{`gateway.yaml:11:27: 'folder' is missing in 'files'; write folder: /var/lib/fieldseal/out`}},
	{"gateway-glob.yaml", []string{`gateway.yaml:6:11: 'machines/[.yaml' is no file pattern; write a pattern such as machines/*.yaml`}},
	{"gateway-header.yaml", []string{`gateway.yaml:1:12: unknown version 'gateway/v2'; write fieldseal: gateway/v1, or use the fieldseal that it is for`}},
	{"gateway-line-baud.yaml", []string{`gateway.yaml:20:61: 19 baud is outside 300–1000000; leave it out for 19200`}},
	{"gateway-line-connect.yaml", []string{`gateway.yaml:20:17: 'connect' is missing in 'moxa-3'; write connect: rtu-tcp://HOST:PORT`}},
	{"gateway-line-key.yaml", []string{`gateway.yaml:20:68: unknown key 'partiy'; did you mean 'parity'?`}},
	{"gateway-line-parity.yaml", []string{`gateway.yaml:20:76: unknown parity 'evn'; write even, odd or none`}},
	{"gateway-line-port.yaml", []string{`gateway.yaml:20:27: the URL has no port: each line of a device server has one of its own; write rtu-tcp://10.20.9.5:4001`}},
	{"gateway-line-tcp.yaml", []string{
		`gateway.yaml:20:57: Modbus TCP has no baud rate; leave it out, or write rtu-tcp:// for a serial line behind a device server`,
		`gateway.yaml:20:72: Modbus TCP has no parity; leave it out, or write rtu-tcp:// for a serial line behind a device server`,
	}},
	{"gateway-line-timeout.yaml", []string{`gateway.yaml:20:91: 'timeout' has no unit; write a duration such as 300ms`}},
	{"gateway-line-twice.yaml", []string{
		`gateway.yaml:21:3: note: no machine is on the line 'moxa-3'; name it in a machine: modbus: {line: moxa-3, unit_id: 1}; or remove it`,
		`gateway.yaml:22:21: the line 'moxa-3' has this connection already; name that one in the machines, or correct the address`,
	}},
	{"gateway-line-unused.yaml", []string{`gateway.yaml:20:9: note: no machine is on the line 'moxa-3'; name it in a machine: modbus: {line: moxa-3, unit_id: 1}; or remove it`}},
	{"gateway-max-age.yaml", []string{`gateway.yaml:18:37: 'max_age' is no duration; write a duration such as 7d`}},
	{"gateway-metrics-port.yaml", []string{`gateway.yaml:19:19: '127.0.0.1' is no address with a port; write listen: "127.0.0.1:9464" or listen: unix:/run/fieldseal/metrics.sock`}},
	{"gateway-metrics-public.yaml", []string{`gateway.yaml:19:19: '0.0.0.0:9464' is not a loopback address: metrics have neither encryption nor login; write listen: "127.0.0.1:9464" or listen: unix:/run/fieldseal/metrics.sock`}},
	{"gateway-metrics-socket.yaml", []string{`gateway.yaml:19:19: 'listen' is no absolute path of a socket; write listen: "127.0.0.1:9464" or listen: unix:/run/fieldseal/metrics.sock`}},
	{"gateway-name.yaml", []string{`gateway.yaml:2:10: 'GW_1' is no name; write gw-1: names are lower case letters, digits and dashes`}},
	{"gateway-no-machines.yaml", []string{`gateway.yaml:6:11: 'maschinen/*.yaml' matches no file: the gateway polls nothing; write a file for each machine, or correct the pattern`}},
	{"gateway-no-uplink.yaml", []string{`gateway.yaml:10:9: 'uplinks' is empty; write a list: [a, b]`}},
	{"gateway-not-honoured.yaml", []string{
		`gateway.yaml:18:8: 'lines' is empty; write at least one`,
		`gateway.yaml:19:1: 'console' is understood but not honoured by this version; remove it`,
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
	{"gateway-uplink-both.yaml", []string{`gateway.yaml:11:27: 'nats' and 'files' are in one uplink; write one of them, and the other one under a name of its own`}},
	{"gateway-uplink-kind.yaml", []string{
		`gateway.yaml:11:5: neither 'nats', 'dtls' nor 'files' is in item 1 of 'uplinks'; write nats: or dtls: with servers, certificate and trust, or files: {folder: out}`,
		`gateway.yaml:12:5: unknown key 'mqtt'; write name, nats, dtls or files`,
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
	{"machine-connect-line.yaml", []string{`machines/press-3.yaml:3:16: unknown line 'moxa-3'; there is none to choose from ('lines' in the gateway file)`}},
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
	{"machine-line-and-connect.yaml", []string{`machines/press-3.yaml:3:16: 'line' and 'connect' are there both; write one of them`}},
	{"machine-machines-file.yaml", []string{
		`machines/press-3.yaml:1:1: 'template' is missing; write template: NAME@VERSION`,
		`machines/press-3.yaml:1:1: 'for_each' is missing; write for_each: {n: 1..40}, or rows: FILE.csv`,
		`machines/press-3.yaml:5:1: unknown key 'points'; write fieldseal, template, for_each, rows, machine, about, tags, sensitivity, poll, modbus, opcua, coap or override`,
	}},
	{"machine-modbus-text.yaml", []string{`machines/press-3.yaml:3:9: 'modbus' is a text; write a mapping of keys and values`}},
	{"machine-name-long.yaml", []string{`machines/press-3.yaml:2:10: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…' is longer than 64 letters; write a shorter name`}},
	{"machine-name-missing.yaml", []string{`machines/press-3.yaml:1:1: 'machine' is missing; write machine: NAME`}},
	{"machine-name.yaml", []string{`machines/press-3.yaml:2:10: 'Press 3' is no name; write press-3: names are lower case letters, digits and dashes`}},
	{"machine-no-points.yaml", []string{`machines/press-3.yaml:5:9: 'points' is an empty list; write at least one`}},
	{"machine-not-a-mapping.yaml", []string{`machines/press-3.yaml:1:1: the file is a list; write a mapping of keys and values`}},
	{"machine-order.yaml", []string{`machines/press-3.yaml:3:62: there is no order "cdab"; write CDAB`}},
	{"machine-overlap.yaml", []string{`machines/press-3.yaml:7:23: point 'speed': holding/101 lies within force, which is 2 registers from holding/100; correct the address, the type or the length of one of them`}},
	{"machine-override-alone.yaml", []string{`machines/press-3.yaml:8:3: 'override' changes the points of a template, and there is none; change the points themselves`}},
	{"machine-passthrough-format.yaml", []string{`machines/press-3.yaml:6:71: unknown format 'pgp'; write cose, jwe, cms, age or opaque`}},
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
		`machines/press-3.yaml:6:40: unknown key 'colour'; write name, at, type, order, bytes, invert, scale, valid, invalid, bits, changes_with, unit, poll, sensitivity, values, counter, passthrough, readable_by, device_key, key_ids, wrap or report`,
		`machines/press-3.yaml:7:5: 'name' is missing in item 2 of 'points'; write name: NAME`,
		`machines/press-3.yaml:7:5: 'type' is missing in item 2 of 'points'; write type: bool, int16, uint16, float32, …`,
	}},
	{"machine-string-length.yaml", []string{`machines/press-3.yaml:6:5: point 'force': the length is missing; write bytes: 1–250`}},
	{"machine-syntax.yaml", []string{`machines/press-3.yaml:5:15: not valid YAML: mapping values are not allowed in this context; look at quotes, colons and indentation here`}},
	{"machine-tag.yaml", []string{`machines/press-3.yaml:6:42: tags (!) are not used in these files; write the value alone; a text that begins with ! goes in quotes`}},
	{"machine-template.yaml", []string{`machines/press-3.yaml:4:11: unknown template 'press'; there is none to choose from ('templates' in the gateway file names their files)`}},
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
	{"machine-unknown-key-far.yaml", []string{`machines/press-3.yaml:4:1: unknown key 'frequency'; write fieldseal, machine, about, template, modbus, opcua, coap, points, poll, sensitivity, tags or override`}},
	{"machine-unknown-key.yaml", []string{`machines/press-3.yaml:4:1: unknown key 'pol'; did you mean 'poll'?`}},
	{"machine-valid-reversed.yaml", []string{`machines/press-3.yaml:6:62: the first raw value is greater than the second; write the lower one first`}},
	{"policy-accept-twice.yaml", []string{`policy.yaml:15:30: 'cose' is in the list already; write it once`}},
	{"policy-accept.yaml", []string{`policy.yaml:15:30: unknown format 'pgp'; write cose, jwe, cms, age or opaque`}},
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
	{"policy-revision-octal.yaml", []string{`policy.yaml:3:11: 'revision' is no decimal number; write a number such as 1`}},
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
	{"tree-broken-neighbour", []string{
		`machines/a.yaml:2:10: the machine 'press-3' is in machines/press-3.yaml already; write another name`,
		`machines/a.yaml:3:19: the timeout is 2s here, and 1s in machines/press-3.yaml, for one connection; write the same timeout in both`,
		`machines/a.yaml:3:68: unknown key 'colour'; write connect, line, timeout, unit_id, order or reads`,
	}},
	{"tree-connection", []string{
		`machines/a.yaml:3:31: level 'restricted' asks for a connection that is encrypted, this one is any: force and stroke stop; have it approved for a time: add this to 'exceptions' of the policy, with the reason
  - {allow: connection-not-encrypted, points: ["press-2/force", "press-2/stroke"], why: "", until: 2027-02-22}`,
		`machines/b.yaml:3:31: level 'restricted' asks for a connection that is encrypted, this one is any: zone-1, zone-2, zone-3, zone-4, zone-5 and 2 more stop; have it approved for a time: add this to 'exceptions' of the policy, with the reason
  - {allow: connection-not-encrypted, points: ["press-1/*"], why: "", until: 2027-02-22}`,
	}},
	{"tree-line-busy", []string{`gateway.yaml:20:9: the line is asked for 403 % of its time at 300 baud: 1 requests every 250ms take 807ms, 1 requests every 1s take 807ms; poll more slowly, raise the baud rate, or share the machines out over more lines`}},
	{"tree-line-connect", []string{`machines/a.yaml:3:19: this is the connection of the line 'moxa-3' (gateway.yaml:20); write line: moxa-3`}},
	{"tree-line-timeout", []string{`machines/a.yaml:3:45: the timeout is that of the line 'moxa-3' (gateway.yaml:20); remove it here`}},
	{"tree-line-unit", []string{`machines/a.yaml:3:33: unit 0 is outside 1–247, and 0 is a broadcast that nobody answers; write the device's own number`}},
	{"tree-line-unknown", []string{
		`gateway.yaml:20:9: note: no machine is on the line 'moxa-3'; name it in a machine: modbus: {line: moxa-3, unit_id: 1}; or remove it`,
		`machines/a.yaml:3:16: unknown line 'moxa-4'; did you mean 'moxa-3'? ('lines' in the gateway file)`,
	}},
	{"tree-machine-twice", []string{`machines/press-3.yaml:2:10: the machine 'press-3' is in machines/a.yaml already; write another name`}},
	{"tree-machines-both", []string{`machines/a.yaml:6:7: 'for_each' and 'rows' are there both; write one of them`}},
	{"tree-machines-except", []string{`machines/a.yaml:3:30: 4 is not within 1..3; remove it`}},
	{"tree-machines-name", []string{`machines/a.yaml:4:10: 'Oven-01' is no name; write oven-01: names are lower case letters, digits and dashes`}},
	{"tree-machines-neither", []string{`machines/a.yaml:1:1: 'for_each' is missing; write for_each: {n: 1..40}, or rows: FILE.csv`}},
	{"tree-machines-nothing", []string{`machines/a.yaml:3:11: 'for_each' leaves nothing; write {n: 1..40, except: [17]}`}},
	{"tree-machines-override", []string{`machines/a.yaml:7:3: unknown machine 'oven-04'; did you mean 'oven-01'?`}},
	{"tree-machines-override-looser", []string{`machines/a.yaml:7:35: sensitivity 'public' is looser than the template's, 'internal' (oven-02); write internal or a stricter one, or change the template`}},
	{"tree-machines-override-point", []string{`machines/a.yaml:7:13: unknown point 'zone-9' (oven-02); did you mean 'zone-1'?`}},
	{"tree-machines-rows-columns", []string{`machines/hall.csv:2:1: not valid CSV; look at quotes and at the number of columns here`}},
	{"tree-machines-rows-empty", []string{`machines/hall.csv: no row is below the line of variables; write one for each machine`}},
	{"tree-machines-rows-head", []string{`machines/hall.csv:1:1: 'N' is no variable of its own; write lower case letters and digits in the first line, such as n, each once`}},
	{"tree-machines-rows-missing", []string{`machines/a.yaml:3:7: cannot read 'hal.csv': there is no such file; write its path from this file's folder`}},
	{"tree-machines-rows-value", []string{`machines/hall.csv:2:3: the value is empty; write one for each row`}},
	{"tree-machines-same-name", []string{`machines/a.yaml:4:10: there are two machines 'oven'; write a name with {n} in it`}},
	{"tree-machines-template", []string{`machines/a.yaml:2:11: the template 'hotrunner' has no version 1; write hotrunner@2`}},
	{"tree-machines-unit", []string{`machines/a.yaml:5:52: 'unit_id' is out of range (oven-03); write a number from 0 to 255`}},
	{"tree-machines-variable", []string{`machines/a.yaml:5:52: unknown variable 'm'; write n`}},
	{"tree-machines-variable-name", []string{`machines/a.yaml:3:12: 'N' is no variable; write a letter such as n`}},
	{"tree-same-registers", []string{
		`machines/a.yaml:5:23: point 'state' (and 1 more) has level 'internal' here, and 'restricted' as 'program-name' in machines/press-3.yaml, which reads the same registers of the same machine; give it the same sensitivity in both, or read it in one`,
	}},
	{"tree-same-unit", []string{
		`machines/press-3.yaml:3:19: note: the machine 'press-2' reads the same unit of the same address; a label there does not bind points here: give each register one sensitivity`,
	}},
	{"tree-template", []string{`templates/a.yaml:1:1: 'points' is missing; write the list of points`}},
	{"tree-template-each-brace", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:45: the braces of 'holding/{199+z' do not match; write {z}`,
	}},
	{"tree-template-each-many", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:34: the run 1..5000 has more than 1000 numbers; write shorter ones`,
	}},
	{"tree-template-each-overlap", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:45: point 'zone-2': holding/201 lies within zone-1, which is 2 registers from holding/200; correct the address, the type or the length of one of them`,
		`templates/hotrunner.yaml:7:45: point 'zone-3': holding/202 lies within zone-2, which is 2 registers from holding/201; correct the address, the type or the length of one of them`,
		`templates/hotrunner.yaml:7:45: point 'zone-4': holding/203 lies within zone-3, which is 2 registers from holding/202; correct the address, the type or the length of one of them`,
		`templates/hotrunner.yaml:7:45: point 'zone-5': holding/204 lies within zone-4, which is 2 registers from holding/203; correct the address, the type or the length of one of them`,
		`templates/hotrunner.yaml:7:45: point 'zone-6': holding/205 lies within zone-5, which is 2 registers from holding/204; correct the address, the type or the length of one of them`,
		`templates/hotrunner.yaml:7:45: point 'zone-7': holding/206 lies within zone-6, which is 2 registers from holding/205; correct the address, the type or the length of one of them`,
		`templates/hotrunner.yaml:7:45: point 'zone-8': holding/207 lies within zone-7, which is 2 registers from holding/206; correct the address, the type or the length of one of them`,
	}},
	{"tree-template-each-product", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:45: '{199*z}' is no sum of whole numbers; write {z}, {z+1} or {z:02}`,
	}},
	{"tree-template-each-reversed", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:34: the run 8..1 ends before it begins; write the lower number first`,
	}},
	{"tree-template-each-run", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:34: '1-8' is no run of whole numbers; write a run such as 1..40`,
	}},
	{"tree-template-each-same-name", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:12: the point 'zone' is on line 7 already; write another name`,
	}},
	{"tree-template-each-two", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:40: a second variable is in 'each'; write {n: 1..40}`,
	}},
	{"tree-template-each-variable", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:45: unknown variable 'y'; write z`,
	}},
	{"tree-template-each-width", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:7:12: '{z:2}' has no width; write {z:02} for two digits at least`,
	}},
	{"tree-template-machine-looser", []string{`machines/a.yaml:5:14: sensitivity 'restricted' is looser than the template's, 'secret'; write secret or a stricter one, or change the template`}},
	{"tree-template-name", []string{
		`machines/a.yaml:3:11: unknown template 'hotrunner'; there is none to choose from ('templates' in the gateway file names their files)`,
		`templates/hotrunner.yaml:2:11: 'Hot_Runner' is no name; write hot-runner: names are lower case letters, digits and dashes`,
	}},
	{"tree-template-no-connect", []string{`machines/a.yaml:4:9: 'connect' is missing in 'modbus'; write connect: tcp://HOST:502`}},
	{"tree-template-no-version", []string{`machines/a.yaml:3:11: the template 'hotrunner' is named without a version; write hotrunner@2`}},
	{"tree-template-override-key", []string{`machines/a.yaml:6:12: unknown key 'att'; did you mean 'at'?`}},
	{"tree-template-override-looser", []string{
		`machines/a.yaml:6:25: sensitivity 'public' is looser than the template's, 'internal'; write internal or a stricter one, or change the template`,
		`machines/a.yaml:7:24: sensitivity 'internal' is looser than the policy's default, 'restricted'; write restricted or a stricter one, or change the template`,
	}},
	{"tree-template-override-name", []string{`machines/a.yaml:6:12: an override does not change 'name'; remove it`}},
	{"tree-template-override-overlap", []string{`templates/hotrunner.yaml:7:45: point 'zone-2': holding/201 lies within zone-1, which is 2 registers from holding/200 (oven); correct the address, the type or the length of one of them`}},
	{"tree-template-override-unknown", []string{`machines/a.yaml:6:3: unknown point 'zone-9'; did you mean 'zone-1'?`}},
	{"tree-template-reference", []string{`machines/a.yaml:3:11: 'hotrunner@two' is no template; write NAME@VERSION, such as hotrunner@2`}},
	{"tree-template-sensitivity", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:4:14: the template's sensitivity 'internal' is looser than the policy's default 'restricted'; label the points that may be less than restricted one by one`,
	}},
	{"tree-template-twice", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/other.yaml:2:11: the template 'hotrunner@2' is in templates/hotrunner.yaml already; write another version`,
	}},
	{"tree-template-unknown", []string{`machines/a.yaml:3:11: unknown template 'hotruner'; did you mean 'hotrunner'? ('templates' in the gateway file names their files)`}},
	{"tree-template-vendor-file", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:4:21: cannot read 'list.csv': there is no such file; write its path from this file's folder`,
	}},
	{"tree-template-vendor-list", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:4:45: 'sha256' is not that of 'hotrunner.yaml'; compare the template with the list, which has changed: this file has b70d4ad3a89e116fcd22127011f16e217e9795115d734ee612f64d24e52791ec`,
	}},
	{"tree-template-version", []string{`machines/a.yaml:3:11: the template 'hotrunner' has no version 3; write hotrunner@2`}},
	{"tree-template-version-missing", []string{
		`machines/a.yaml:3:11: unknown template 'hotrunner'; there is none to choose from ('templates' in the gateway file names their files)`,
		`templates/hotrunner.yaml:1:1: 'version' is missing; write version: 1, and a greater number with every change`,
	}},
	{"tree-template-wrong", []string{
		`machines/a.yaml:3:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`machines/b.yaml:2:11: the template 'hotrunner@2' has problems; mend templates/hotrunner.yaml`,
		`templates/hotrunner.yaml:8:42: there is no type "word"; write uint16`,
	}},
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
		`machines/press-3.yaml:24:18: note: point 'torque-log' is sealed like any other, although the device encrypts it: 'only' in the trust file keeps engineering from this machine; add "press-3/*" to 'only' there, or have the device encrypt for others`,
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
	for _, m := range slices.Concat(mistakes, opcuaMistakes, pointMistakes) {
		covered[m.file] = true
		t.Run(m.file, func(t *testing.T) {
			dir := overlay(t, filepath.Join("testdata/mistakes", m.file))
			c, problems := Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
			assert.Equal(t, m.want, texts(dir, problems))

			fatal := Fatal(problems)
			assert.Equal(t, fatal, c == nil)
			for _, p := range problems {
				machine := strings.Contains(p.File, "/machines/")
				template := strings.Contains(p.File, "/templates/") // its problems may be those of one machine
				assert.True(t, template || machine == (p.Machine != ""), "%v", p)
				if !p.Note && !p.Stops && !template && m.file != "tree-line-busy" {
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
	return Options{Now: func() time.Time { return now.Add(12 * time.Hour) }, Draft: true}
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
