package schema

func policy() schema {
	level := like("The name of one of the levels.", namePattern)
	return file("policy", "The rules: what is how sensitive, who may read it, and what is excepted. It takes effect only with the signatures of its approvers beside it (policy.yaml.sig, by fieldseal policy sign).", keys{
		"policy":    name("The policy's name.").eg("plant-augsburg"),
		"revision":  whole("It rises with every change: a lower one, or the same with other content, is refused.", 1, 1<<31-1),
		"time_zone": text("What dates in this file mean; the gateway's if left out.").eg("Europe/Berlin"),
		"levels": list("The sensitivity levels, the least sensitive first. None may send more openly, or ask less of the connection, than the one before.", object("One level.", keys{
			"name":       name("Its name: machine files label points with it, and subjects show it.").eg("restricted"),
			"send":       oneOf("How its points leave: clear, sealed for its recipients, or withheld: not at all.", "clear", "sealed", "withheld"),
			"to":         names("The recipients who can open what is sealed, by the trust file's names.").eg([]string{"historian", "escrow"}),
			"connection": oneOf("What the connection to the machine must have, by what was negotiated: any, authenticated (OPC UA Sign), encrypted (OPC UA SignAndEncrypt). Points whose connection has less stop, unless an exception covers them.", "any", "authenticated", "encrypted"),
			"pad":        flag("Hide the sizes of its messages: they are rounded up."),
			"hide":       list("What stays out of addresses and subjects upstream: names, those of points.", schema{"enum": []string{"names"}}),
			"show":       list("Where on the gateway its values may be shown: console."+notYet, schema{"enum": []string{"console"}}),
		}, "name", "send").with("allOf", []schema{
			where("send", "clear", "connection"), where("send", "sealed", "to", "connection"),
		})),
		"default": level.with("description", "The level of a point that nobody labelled. It never sends in clear.").eg("restricted"),
		"events":  object("Events, such as a connection that got worse.", keys{"to": names("Who can read them upstream. Left out, they stay on the gateway.")}, "to"),
		"released": list("Points that leave in clear, if their machine's file labels them so too: clear needs both. The signature binds each to its machine and address.", object("One release.", keys{
			"points": patterns("Which points."), "why": why("The reason, for those who approve it."),
		}, "points", "why")),
		"raise": list("Points that are stricter than their label, never looser.", object("One raise.", keys{
			"points": patterns("Which points."), "level": like("Their level, at least.", namePattern).eg("restricted"),
		}, "points", "level")),
		"passthrough": object("Payloads that devices encrypt themselves: forwarded byte for byte, after a look whether they are what they claim.", keys{
			"accept":      list("The formats that are accepted; opaque has no structure and is judged by its statistics.", schema{"enum": formats()}),
			"if_readable": oneOf("What becomes of one that is not ciphertext after all: seal seals it for the level, hold keeps it back. It never leaves as it is.", "seal", "hold"),
		}, "accept", "if_readable"),
		"exceptions": list("Permissions to be less secure than a level asks. Each has a reason and a last day; then the points it covered stop.", object("One exception.", keys{
			"allow":  oneOf("What is allowed. connection-not-encrypted: who reaches that network reads the values, and can change them before they are sealed. connection-not-authenticated: values may come from somebody else.", "connection-not-encrypted", "connection-not-authenticated"),
			"points": patterns("Which points it covers."),
			"why":    why("The reason, for those who approve it."),
			"until":  day("Its last day, inclusive."),
		}, "allow", "points", "why", "until")),
	}, "policy", "revision", "levels", "default")
}

func formats() []string { return []string{"cose", "jwe", "cms", "age", "opaque"} }

func trust() schema {
	return file("trust", "Who is who: the same file at the gateways and at everyone who opens data. Signed by the approvers (trust.yaml.sig).", keys{
		"revision": whole("It rises with every change: a lower one, or the same with other content, is refused.", 1, 1<<31-1),
		"gateways": mapOf("The gateways whose signatures count, by their names.", object("One gateway.", keys{
			"signing_key": like("Its public key, as fieldseal keys list shows it.", `^ed25519:[A-Za-z0-9+/]{43}=$`),
			"until":       day("The last day of its key, in UTC; receivers refuse what it signs later."),
		}, "signing_key", "until")),
		"recipients": mapOf("Who can open data, by the names that levels use.", object("One recipient.", keys{
			"keys": list("Public keys; each of them opens what is sealed for the name.", object("One key.", keys{
				"file":   text("The file of the public key, from this file's folder.").eg("keys/historian-2026.pub"),
				"sha256": like("The file's fingerprint, as sha256sum prints it. Compare it with what the key's owner says.", digestPattern),
			}, "file", "sha256")),
			"only": list("However a level names the recipient, nothing else is sealed for it than these machines.", like("machine/*, with the machine a name or a pattern.", `^[a-z0-9*?-]+/\*$`)).eg([]string{"press-*/*"}),
		}, "keys")),
	}, "revision", "gateways", "recipients")
}
