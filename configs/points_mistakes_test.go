package configs

// pointMistakes are those in what a file says of points, machines and levels
// beside how they are read.
var pointMistakes = []struct {
	file string
	want []string
}{
	{"machine-counter.yaml", []string{
		`machines/press-3.yaml:6:48: 'counter' is for numbers, and this is none; remove it`,
		`machines/press-3.yaml:7:55: 'resets' is missing in 'counter'; write counter: {resets: true} where it begins again, as after a restart of the machine, and false where it never does`,
		`machines/press-3.yaml:8:55: 'counter' is true or false; write a mapping of keys and values`,
		`machines/press-3.yaml:9:64: 'resets' is a text; write true or false`,
		`machines/press-3.yaml:10:71: unknown key 'wraps'; write resets`,
		`machines/press-3.yaml:11:55: 'counter' and 'values' are there both: what is counted has no names; remove one of the two`,
	}},
	{"machine-opcua-values.yaml", []string{
		`machines/press-3.yaml:11:63: the number is out of range; write a number from -128 to 127`,
		`machines/press-3.yaml:12:51: 'values' name the numbers of an integer type, and this is of type string; remove it, or write the type that the point has, such as uint16`,
		`machines/press-3.yaml:12:70: 'counter' is for numbers, and this is none; remove it`,
	}},
	{"machine-passthrough-key-ids.yaml", []string{`machines/press-3.yaml:13:7: more than 64 names of keys; write those that the device uses now`}},
	{"machine-passthrough-keys.yaml", []string{
		`machines/press-3.yaml:6:114: 'device_key' does not go with jwe: only COSE payloads carry a device's signature; remove it`,
		`machines/press-3.yaml:7:111: 'key_ids' does not go with age: only COSE and JWE payloads name their key; remove it`,
		`machines/press-3.yaml:8:115: 'device_key' is not a public key for Ed25519 or P-256; write ed25519:BASE64, or the PEM text that begins with -----BEGIN PUBLIC KEY-----`,
		`machines/press-3.yaml:8:136: '0xabc' is no hexadecimal text of whole bytes; write the name as the payloads have it: a text in quotes, or its bytes as 0x6b31`,
		`machines/press-3.yaml:8:143: item 2 of 'key_ids' is a number; write the name as the payloads have it: a text in quotes, or its bytes as 0x6b31`,
		`machines/press-3.yaml:8:147: item 3 of 'key_ids' has 0 bytes, and the name of a key has 1 to 64; write the name as the payloads have it: a text in quotes, or its bytes as 0x6b31`,
		`machines/press-3.yaml:8:155: '0x6b31' is in the list already; write it once`,
		`machines/press-3.yaml:9:68: 'device_key' is for what the device encrypts; remove it, or write passthrough: cose`,
		`machines/press-3.yaml:9:133: 'key_ids' is for what the device encrypts; remove it, or write passthrough: cose`,
		`machines/press-3.yaml:9:145: 'wrap' is for what the device encrypts; remove it, or write passthrough: cose`,
		`machines/press-3.yaml:10:109: 'wrap' is a text; write true or false`,
		`machines/press-3.yaml:10:125: 'key_ids' is an empty list; write at least one`,
	}},
	{"machine-at-bit.yaml", []string{
		`machines/press-3.yaml:5:23: 'holding/300.3' names a bit, and an address is that of a whole register; write at: holding/300, type: uint16 and bits: {3: NAME}`,
		`machines/press-3.yaml:6:22: '40301.15' names a bit, and an address is that of a whole register; write at: 40301, type: uint16 and bits: {15: NAME}`,
		`machines/press-3.yaml:7:22: address "holding/300.16": "300.16" is no number from 0 to 65535; write it as 100 or 0x64`,
	}},
	{"machine-tags-many.yaml", []string{`machines/press-3.yaml:6:3: more than 64 tags; write fewer`}},
	{"machine-tags.yaml", []string{
		`machines/press-3.yaml:5:8: 'Site' is no name; write site: names are lower case letters, digits and dashes`,
		`machines/press-3.yaml:5:30: 'line' is a number; write a text, in quotes`,
		`machines/press-3.yaml:5:40: 'asset' is longer than 256 bytes; write a shorter text`,
		`machines/press-3.yaml:5:307: 'room' is an empty text; write something or remove the key`,
	}},
	{"machine-values-many.yaml", []string{`machines/press-3.yaml:10:7: more than 256 values; write those that mean something`}},
	{"machine-values.yaml", []string{
		`machines/press-3.yaml:6:62: the number 0 is there already; write it once`,
		`machines/press-3.yaml:6:73: the number is out of range; write a number from -32768 to 32767`,
		`machines/press-3.yaml:6:101: the number is no whole number; write a number such as 1`,
		`machines/press-3.yaml:6:112: the number is a text; write a number`,
		`machines/press-3.yaml:6:126: the text of 7 is a number; write a text, in quotes`,
		`machines/press-3.yaml:7:55: 'values' name the numbers of an integer type, and this is of type float32; remove it, or write the type that the point has, such as uint16`,
		`machines/press-3.yaml:8:66: 'values' name whole numbers, and 'scale' makes others of them; remove one of the two`,
		`machines/press-3.yaml:9:60: 'values' does not apply to bits; remove it`,
		`machines/press-3.yaml:9:78: 'counter' does not apply to bits; remove it`,
		`machines/press-3.yaml:10:54: 'values' is empty; write values: {0: stopped, 1: running}`,
		`machines/press-3.yaml:11:54: 'values' is a list; write a mapping of keys and values`,
		`machines/press-3.yaml:12:55: the number is out of range; write a number from 0 to 65535`,
		`machines/press-3.yaml:12:67: the text of 2 is longer than 256 bytes; write a shorter text`,
		`machines/press-3.yaml:13:47: 'values' name the numbers of an integer type, and this is of type bool; remove it, or write the type that the point has, such as uint16`,
	}},
	{"policy-events.yaml", []string{`policy.yaml:10:9: 'to' is missing in 'events'; name who can open events`}},
	{"policy-hide.yaml", []string{
		`policy.yaml:6:56: 'hide' is for sealed levels, and this one is clear; remove it, or write send: sealed`,
		`policy.yaml:8:105: 'names' is in the list already; write it once`,
		`policy.yaml:8:112: 'sizes' cannot be hidden; write hide: [names]`,
		`policy.yaml:9:42: 'hide' is for sealed levels, and this one is withheld; remove it, or write send: sealed`,
		`policy.yaml:9:51: 'show' is understood but not honoured by this version; remove it`,
		`policy.yaml:10:15: unknown recipient 'nobody'; write engineering or historian (the trust file lists them)`,
	}},
	{"tree-template-values", []string{`templates/hotrunner.yaml:8:58: 'values' name the numbers of an integer type, and this is of type float32 (oven); remove it, or write the type that the point has, such as uint16`}},
	{"tree-wrap-clear", []string{`machines/press-3.yaml:26:111: point 'blob' is to be sealed again, and its level 'public' sends in clear: it stops; remove 'wrap', or give it a sensitivity that seals`}},
}
