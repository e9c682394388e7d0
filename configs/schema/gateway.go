package schema

func gateway() schema {
	return file("gateway", "One gateway: what it is called, what it reads its policy and machines from, and where its messages go. Paths are relative to this file's folder.", keys{
		"gateway":   name("The gateway's name: visible upstream, in every subject.").eg("gw-press-hall-2"),
		"time_zone": text("What dates mean where the policy does not say it; UTC if it is left out.").eg("Europe/Berlin"),
		"policy":    text("The policy file. It takes effect only with the signatures of its approvers beside it (policy.yaml.sig).").eg("policy.yaml"),
		"trust":     text("The trust file: gateways and recipients with the fingerprints of their keys, signed too (trust.yaml.sig).").eg("trust.yaml"),
		"machines":  text("A pattern of the machines' files: one for each machine, or for many of one template.").eg("machines/*.yaml"),
		"templates": text("A pattern of the templates' files, where machines are of one.").eg("templates/*.yaml"),
		"state":     text("The folder of outbox, keystore and audit log. It belongs to one process; nobody else can read it.").eg("/var/lib/fieldseal"),
		"keystore": object("The gateway's private keys, in the state folder.", keys{
			"unlock": credential("The credential that unlocks it; it stands elsewhere than the keystore.").eg("credential:keystore"),
		}, "unlock"),
		"lines": mapOf("Serial lines behind device servers, which several machines share: one owner, one request at a time.", line()),
		"uplinks": list("Ways upstream. The first that works is used, the others stand by; all lead to the same stream.",
			uplink()),
		"outbox": object("The durable queue between machines and uplinks, on disk and encrypted.", keys{
			"max_size":  size("How much may wait, 16MiB at least.").eg("512MiB"),
			"max_age":   duration("What is older is dropped, with a signed loss record that says so. Left out, nothing is dropped for its age.").eg("7d"),
			"when_full": oneOf("What happens when it is full: drop-oldest drops the oldest messages, with a loss record; stop-polling reads no more until there is room.", "drop-oldest", "stop-polling"),
		}, "max_size", "when_full"),
		"metrics": object("Where metrics are served, for Prometheus. They have neither encryption nor login.", keys{
			"listen": like("An address of loopback with a port, or a socket.", `^(unix:/.+|.+:[0-9]+)$`).eg("127.0.0.1:9464", "unix:/run/fieldseal/metrics.sock"),
		}, "listen"),
		"console": object("The page that shows what is going on."+notYet, keys{
			"listen": like("An address of loopback with a port.", `^.+:[0-9]+$`).eg("127.0.0.1:8480"),
		}, "listen"),
	}, "gateway", "policy", "trust", "machines", "state", "keystore", "uplinks", "outbox")
}

func line() schema {
	return object("One serial line.", keys{
		"connect": like("The device server, with the port of this line.", `^rtu-tcp://`).eg("rtu-tcp://10.20.9.5:4001"),
		"baud":    whole("Its baud rate, for the timings; the device server sets it. 19200 if left out.", 300, 1_000_000).eg(19200),
		"parity":  oneOf("Its parity; even if left out.", "even", "odd", "none"),
		"timeout": duration("Until an answer has to begin; 300ms if left out.").eg("300ms"),
	}, "connect")
}

func uplink() schema {
	return object("One way upstream: nats, dtls or files.", keys{
		"name": name("What logs and the status call it.").eg("plant-nats"),
		"nats": object("Into a NATS JetStream stream, over TLS.", keys{
			"servers":     list("The servers of one cluster. TLS always.", like("tls://HOST:PORT", `^tls://[^/@]+$`)).eg([]string{"tls://hub-a.example:4222"}),
			"stream":      like("The JetStream stream. It exists already: it is never created or changed from here.", `^[A-Za-z0-9_-]+$`).eg("PLANT"),
			"prefix":      like("What all subjects begin with.", subjectPattern).eg("plant.augsburg"),
			"certificate": like("The client certificate: an entry of the keystore.", keystorePattern).eg("keystore:uplink"),
			"trust":       text("A file with the certificates that the servers must lead to, in PEM.").eg("trust/hub-ca.pem"),
		}, "servers", "stream", "prefix", "certificate", "trust"),
		"dtls": object("To hubs, over DTLS: for radio and other paths that lose packets.", keys{
			"server":      like("One hub: HOST:PORT.", `^.+:[0-9]+$`).eg("relay.example:5684"),
			"servers":     list("Several hubs in front of one stream, in place of server.", like("HOST:PORT", `^.+:[0-9]+$`)).eg([]string{"relay-a.example:5684", "relay-b.example:5684"}),
			"certificate": like("The client certificate: an entry of the keystore, with an ECDSA key.", keystorePattern).eg("keystore:uplink"),
			"trust":       text("A file with the certificates that hubs must lead to, in PEM.").eg("trust/relay-ca.pem"),
			"prefix":      like("What the hub must publish under; left out, as the other uplinks say, else whatever it says.", subjectPattern).eg("plant.augsburg"),
			"stream":      like("The stream that the hub must store in; left out, as the other uplinks say, else whatever it says.", `^[A-Za-z0-9_-]+$`).eg("PLANT"),
			"min_window":  size("How much may be under way whatever is lost: it switches congestion control off below itself. See docs/dtls-uplink.md.").eg("128KiB"),
		}, "certificate", "trust"),
		"files": object("Into a folder, for the first hour and for sites without a network: a stick, a diode. It is the only uplink then.", keys{
			"folder": text("The folder. It is made, if the one around it is there.").eg("/var/lib/fieldseal/out"),
		}, "folder"),
	}, "name")
}
