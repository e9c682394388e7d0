package schema

func hub() schema {
	pem := func(about, eg string) schema { return text(about).eg(eg) }
	per := func(about string, eg int) schema { return whole(about, 1, 1<<31-1).eg(eg) }
	return file("hub", "A hub: it takes what gateways send over DTLS and stores it in a NATS JetStream stream.", keys{
		"listen":      like("The UDP address of all gateways: address and port.", `^.+:[0-9]+$`).eg("0.0.0.0:5684"),
		"certificate": pem("The hub's ECDSA certificate, for the names that gateways connect to, in PEM; what is between it and its authority behind it.", "hub.pem"),
		"key":         pem("Its private key, in PEM, mode 0600.", "hub.key"),
		"trust":       pem("The authorities of the gateways' certificates, or those themselves where they are self-signed.", "gateways.pem"),
		"revoked":     list("Revocation lists of those authorities. They are read again while the hub runs.", text("A file, PEM or DER.")).eg([]string{"gateways.crl"}),
		"nats": object("Where the hub stores what it takes.", keys{
			"servers":     list("The servers of one cluster. TLS always.", like("tls://HOST:PORT", `^tls://[^/@]+$`)).eg([]string{"tls://nats-a.example:4222"}),
			"stream":      like("The JetStream stream. It exists already: it is never created or changed from here.", `^[A-Za-z0-9_-]+$`).eg("PLANT"),
			"prefix":      like("What all subjects begin with.", subjectPattern).eg("plant.augsburg"),
			"certificate": pem("The certificate that is shown to the servers, in PEM.", "nats.pem"),
			"key":         pem("Its private key, in PEM, mode 0600.", "nats.key"),
			"trust":       pem("The certificates that the servers must lead to, in PEM.", "nats-ca.pem"),
		}, "servers", "stream", "prefix", "certificate", "key", "trust"),
		"limits": object("What gateways may take; all of it may be left out.", keys{
			"connections":             per("Connections of all gateways together.", 1024),
			"connections_per_gateway": per("Connections of one gateway; the oldest goes for a new one.", 2),
			"messages_per_second":     per("From one connection; what is over waits.", 50000),
			"bytes_per_second":        size("From one connection; what is over waits.").eg("64MiB"),
			"idle":                    duration("How long a connection stays without a word.").eg("2m"),
			"half_open":               per("Handshakes of which nothing is known yet; the oldest goes for a new one.", 256),
			"handshakes":              per("Handshakes whose address is proven.", 128),
			"handshakes_per_host":     per("Of them, those of one address.", 32),
		}),
		"metrics": object("Metrics, status and health, for this machine.", keys{
			"listen": text("A loopback address and port, or unix: and the path of a socket.").eg("127.0.0.1:9465"),
		}, "listen"),
		"health": object("Whether the hub is ready, for whoever asks, and nothing else.", keys{
			"listen": like("Address and port.", `^.+:[0-9]+$`).eg("0.0.0.0:8081"),
		}, "listen"),
	}, "listen", "certificate", "key", "trust", "nats")
}
