package schema

import "maps"

// common are the keys that machines and templates share.
func common() keys {
	return keys{
		"about":       text("What it is, for people."),
		"tags":        tags(),
		"sensitivity": like("The level of points that have no label of their own. Never looser than the template's, or than the policy's default.", namePattern).eg("restricted"),
		"modbus":      modbus(),
		"opcua":       opcua(),
		"coap":        coap(),
		"poll":        mapOf("How often points are read, by the name of a class; normal is that of points that name none. For OPC UA the sampling interval. Without any, normal is 1s.", duration("The time between two reads, 10ms at least.").eg("250ms")).eg(map[string]string{"fast": "250ms", "normal": "1s", "slow": "1m"}),
		"points":      list("What is read: nothing else leaves. One point on a line (fieldseal fmt).", point()),
	}
}

func tags() schema {
	return schema{
		"type": "object", "description": "Site, line, asset and the like, for the sealed catalogue that recipients get.", "maxProperties": 64,
		"propertyNames":        schema{"pattern": namePattern, "maxLength": 64},
		"additionalProperties": schema{"type": "string", "minLength": 1, "maxLength": 256}, "examples": []any{map[string]string{"site": "augsburg", "asset": "PR-0003"}},
	}
}

func machine() schema {
	k := common()
	maps.Copy(k, keys{
		"machine":  name("The machine's name: visible upstream, and in the patterns of the policy.").eg("press-3"),
		"template": reference(),
		"override": overrides("What this machine has different from its template, by the name of the point: anything but a looser sensitivity."),
	})
	return file("machine", "One machine: how it is reached, what is read of it, and how sensitive that is.", k, "machine")
}

func reference() schema {
	return like("The template that the machine is of, with its version.", `^[a-z0-9]([a-z0-9-]*[a-z0-9])?@[0-9]+$`).eg("press-400t@3")
}

// overrides are points without their names.
func overrides(about string) schema {
	k := pointKeys()
	delete(k, "name")
	delete(k, "each")
	return mapOf(about, object("What is different of this point.", k))
}

func machines() schema {
	k := common()
	delete(k, "points")
	maps.Copy(k, keys{
		"template": reference(),
		"for_each": runs("The machines, by a number: {n: 1..40, except: [17]}.", true),
		"rows":     text("A CSV file instead of for_each: a line of variables, and one line for each machine.").eg("hall3.csv"),
		"machine":  like("The name of each, with a variable in braces.", namesPattern).eg("hotrunner-{n:02}"),
		"override": mapOf("What single machines have different, by their names and then by their points'.", overrides("By the name of the point.")),
	})
	return file("machines", "Many machines of one template, in one file. Texts may have expressions in braces: {n}, {199+n}, {n:02}.", k, "template", "machine")
}

// runs is a variable and its values.
func runs(about string, except bool) schema {
	s := schema{
		"type": "object", "description": about, "minProperties": 1, "maxProperties": 1,
		"propertyNames": schema{"pattern": "^[a-z][a-z0-9]*$"}, "additionalProperties": like("A range, both ends included.", `^[0-9]+\.\.[0-9]+$`),
		"examples": []any{map[string]string{"n": "1..40"}},
	}
	if except {
		s["maxProperties"] = 2
		s["properties"] = keys{"except": list("Values that are left out.", schema{"type": "integer"})}
	}
	return s
}

func template() schema {
	k := common()
	maps.Copy(k, keys{
		"template": name("The template's name.").eg("press-400t"),
		"version":  whole("It rises with every change: machines name it, and so change only when somebody wants them to.", 1, 1<<31-1),
		"vendor_list": object("The vendor's list that the template was written from.", keys{
			"file":   text("Its file, from this file's folder.").eg("PR400_registers.csv"),
			"sha256": like("Its fingerprint, as sha256sum prints it: check says when the list has changed.", digestPattern),
		}, "file", "sha256"),
	})
	return file("template", "What machines of one type have in common.", k, "template", "version", "points")
}

func modbus() schema {
	return object("How the machine is reached over Modbus.", keys{
		"connect":     like("tcp://HOST:502, or rtu-tcp://HOST:PORT for a serial line behind a device server.", `^(tcp|tls|rtu-tcp|rtu)://|\{`).eg("tcp://10.20.3.13:502"),
		"line":        like("A line of the gateway file, in place of connect.", namesPattern).eg("moxa-3"),
		"unit_id":     either("The unit behind the address: 0 to 255, 1 to 247 on a serial line.", schema{"type": "integer", "minimum": 0, "maximum": 255}, like("An expression, where one file is about many machines.", `\{`)).eg(1),
		"order":       order("The order of bytes over registers, for points that give none."),
		"timeout":     duration("For the answer to one request; 1s if left out.").eg("800ms"),
		"certificate": like("The client certificate, for tls://."+notYet, keystorePattern).eg("keystore:modbus"),
		"trust":       text("A file with the certificates that the machine must lead to, for tls://." + notYet).eg("trust/plc-ca.pem"),
		"reads": object("How requests are made.", keys{
			"max_registers": whole("Registers in one request; 125 if left out. Coils and discrete inputs: 16 for each.", 1, 125),
			"max_gap":       whole("Registers that nobody mapped and that may be read along to join two requests. 0 if left out: some registers clear when they are read.", 0, 124),
			"pause":         duration("Between two requests to this machine.").eg("20ms"),
			"forbidden":     list("Runs of addresses that are never touched.", schema{"type": []string{"string", "integer"}, "pattern": spanPattern}).eg([]string{"holding/900-999"}),
		}),
	})
}

func order(about string) schema {
	return either(about+" A is the most significant byte. Four letters are a pattern for 32 bits that applies to 64 too (CDAB is GHEFCDAB there); fieldseal read shows a value in every order.",
		schema{"enum": []string{"ABCD", "CDAB", "BADC", "DCBA", "AB", "BA"}}, schema{"type": "string", "pattern": "^[A-H]{8}$"}).eg("CDAB")
}

func opcua() schema {
	return object("How the machine is reached over OPC UA.", keys{
		"endpoint": like("The server: opc.tcp://HOST:4840, and a path where it has one.", `^opc\.tcp://|\{`).eg("opc.tcp://10.20.4.14:4840"),
		"security": object("How the connection is secured. A server that offers less is not connected to.", keys{
			"policy": oneOf("The algorithms.", "Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep"),
			"mode":   oneOf("Sign lets those on the way read; SignAndEncrypt does not.", "SignAndEncrypt", "Sign"),
		}, "policy", "mode"),
		"server_certificate": like("The pin: the SHA-256 fingerprint of the server's certificate.", `^(sha256:[0-9A-Fa-f:]{64,95}|.*\{.*)$`),
		"trust":              text("A file with the authorities that the server's certificate must lead to, in place of the pin." + notYet),
		"certificate":        like("The client's certificate: an entry of the keystore. fieldseal keys export gives what the server must trust.", keystorePattern).eg("keystore:opcua-client"),
		"user": either("Whom the gateway logs in as.",
			schema{"const": "anonymous", "description": "Nobody: the server says what that may read."},
			object("A user with a password, or with a certificate.", keys{
				"name":        text("The user's name.").eg("fieldseal"),
				"password":    credential("The credential with the password. It is never in this file.").eg("credential:mixer-4"),
				"certificate": like("The user's certificate, in place of a password."+notYet, keystorePattern),
			})),
		"namespace": text("The URI of the namespace of nodes that name none. Not its index: that moves when firmware changes.").eg("http://vendor.example/mixer/v2"),
		"timeout":   duration("For connecting and for the answer to one request; 10s if left out.").eg("10s"),
	})
}

func coap() schema {
	return object("Where the machine is expected that sends what it encrypted itself, over CoAP and DTLS.", keys{
		"listen": like("Where the gateway listens: address and port.", `^.+:[0-9]+$`).eg("0.0.0.0:5684"),
		"device": object("Which device it is: by its certificate, or by a key that it shares with the gateway.", keys{
			"certificate":  text("The SHA-256 fingerprint of its certificate (sha256:…), or the name in one that an authority issued.").eg("pump-4.plant.example"),
			"psk_identity": text("What the device is set to call itself.").eg("pump-4"),
			"psk":          credential("The credential with the key. It is never in this file.").eg("credential:pump-4"),
		}),
		"certificate": like("The gateway's certificate: an entry of the keystore. A device with a certificate wants to see it.", keystorePattern).eg("keystore:uplink"),
		"trust":       text("A file with the authorities that issued the devices' certificates, in PEM.").eg("trust/devices-ca.pem"),
		"silence":     duration("How long a device may say nothing until it counts as down.").eg("5m"),
	})
}
