package schema

func point() schema {
	return object("One point. It is of Modbus (at), of OPC UA (node) or of CoAP (path).", pointKeys(), "name", "type")
}

// pointKeys are those of a point, whatever the protocol.
func pointKeys() keys {
	k := keys{
		"name":         like("The point's name: lower case, digits, dashes. With each, an expression in braces makes one for each value.", namesPattern).eg("ram-force", "zone-{z}"),
		"each":         runs("Makes many points of one entry: {z: 1..8}. The variable stands in braces in name, at, node and changes_with.", false),
		"unit":         text("The unit of the value, for recipients.").eg("kN"),
		"poll":         like("The poll class that says how often it is read; normal if left out.", namePattern).eg("fast"),
		"sensitivity":  like("Its level. Left out, that of the machine or of its template, else the policy's default. The stricter of this and of every rule that matches holds.", namePattern).eg("internal"),
		"type":         oneOf("The type in the device, exactly: nothing is converted. Modbus has no int8, uint8 and datetime; structure is for OPC UA, with fields.", types()...),
		"report":       report(),
		"values":       values(),
		"counter":      counter(),
		"passthrough":  oneOf("The device encrypts the payload itself, in this format: it leaves byte for byte, after a look whether it is that. The type is bytes.", formats()...),
		"readable_by":  names("Who the device encrypts it for, by the trust file's names. They have to be within the level's recipients."),
		"device_key":   text("The device's public key (Ed25519 or P-256): each payload must carry its signature. For cose."),
		"key_ids":      list("The names of the keys that the device may encrypt with (kid). For cose and jwe.", schema{"type": []string{"string", "integer"}, "description": "One name: a text, or its bytes as 0x6b31.", "minLength": 1, "minimum": 0}),
		"wrap":         flag("Seal what the device encrypted once more, for the level's recipients."),
		"at":           at("Modbus: the address. holding/100 is the one on the wire, from 0 (holding, input, coil, discrete); 40101 is a reference number of a vendor's list; reg/101 is a holding register in a list that counts from 1. All three are the same register."),
		"order":        order("Modbus: the order of bytes over registers."),
		"bytes":        whole("Modbus: the length of a string or of bytes.", 1, 1<<16).eg(32),
		"invert":       flag("Modbus: of a bool, true for 0 and false for 1."),
		"scale":        scale(),
		"valid":        object("Modbus: raw values outside are of bad quality.", keys{"raw": pair("The least and the greatest.", "integer")}, "raw").eg(map[string][]int{"raw": {-4864, 32511}}),
		"invalid":      whole("Modbus: the raw value that means that there is none, such as 0x8000.", -1<<63, 1<<63-1).eg(32768),
		"bits":         bits(),
		"changes_with": at("Modbus: a counter register, read every cycle. The point is read when that moves, and taken only if it did not move meanwhile."),
		"node":         node(),
		"max_bytes":    whole("OPC UA and CoAP: the greatest length of a string or of bytes; 4096 if left out.", 1, 65536),
		"fields":       fields(),
		"path":         text("CoAP: the path that the device sends to.").eg("/log"),
	}
	delete(k["invalid"], "maximum") // up to 64 bits without a sign
	return k
}

func types() []string {
	return []string{
		"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
		"string", "bytes", "datetime", "structure",
	}
}

func report() schema {
	return object("Which readings are sent. Without it each is.", keys{
		"deadband":       number("Only what differs by more than this from what was sent last, in the point's unit.").with("minimum", 0).eg(5),
		"at_least_every": duration("And after this time in any case.").eg("10s"),
	})
}

func values() schema {
	return schema{
		"type": "object", "description": "What the numbers of an enumeration mean. Numbers travel; the texts are in the sealed catalogue.", "minProperties": 1,
		"propertyNames": schema{"pattern": `^(-?[0-9]+|0x[0-9A-Fa-f]+)$`}, "additionalProperties": schema{"type": []string{"string", "boolean", "number"}},
		"examples": []any{map[string]string{"0": "stopped", "1": "running"}},
	}
}

func counter() schema {
	return object("The value only rises.", keys{
		"resets": flag("It goes back to zero, as on a restart of the machine."),
	}, "resets")
}

func at(about string) schema {
	return schema{"type": []string{"string", "integer"}, "description": about, "pattern": addressPattern, "minimum": 10001, "maximum": 465536}.eg("holding/100", 40101, "reg/101")
}

func scale() schema {
	return either("Modbus: the value of a raw number: a factor, or the line through two points.",
		schema{"type": "number", "not": schema{"const": 0}},
		object("A line through two points.", keys{
			"raw": pair("Two raw numbers.", "number"), "value": pair("What they mean, in the point's unit.", "number"),
		}, "raw", "value")).eg(0.1)
}

func pair(about, of string) schema {
	return schema{"type": "array", "description": about, "items": schema{"type": of}, "minItems": 2, "maxItems": 2}
}

func bits() schema {
	return schema{
		"type": "object", "description": "Modbus: points of single bits of a register, by their number from 0: they are called register-bit, such as alarms-overload. The register itself does not leave.",
		"minProperties": 1, "propertyNames": schema{"pattern": `^(1[0-5]|[0-9])$`},
		"additionalProperties": either("The bit's name, or a mapping.",
			schema{"type": "string", "pattern": namePattern},
			object("A bit.", keys{
				"name": name("The bit's name."), "invert": flag("True for 0 and false for 1."),
			}, "name")),
		"examples": []any{map[string]string{"0": "overload"}},
	}
}

func node() schema {
	return either("OPC UA: the node's identifier: s=Line1.Mixer.Speed, i=7013, g=… or b=…",
		schema{"type": "string", "pattern": nodePattern},
		object("A node of another namespace than the machine's.", keys{
			"namespace": text("Its namespace's URI.").eg("http://opcfoundation.org/UA/"),
			"id":        like("Its identifier.", nodePattern).eg("i=2258"),
		}, "namespace", "id")).eg("s=Line1.Mixer.Speed", "i=7013")
}

func fields() schema {
	return list("OPC UA: the fields of a structure that are points, called point-field, such as drive-speed. What is not listed never leaves."+notYet, object("One field.", keys{
		"name":        name("The field's name, behind the point's."),
		"field":       text("What the structure calls it.").eg("rSpeed"),
		"type":        oneOf("Its type.", types()...),
		"unit":        text("The unit of the value, for recipients."),
		"max_bytes":   whole("The greatest length of a string or of bytes.", 1, 65536),
		"report":      report(),
		"values":      values(),
		"counter":     counter(),
		"sensitivity": like("Its level.", namePattern),
	}, "name", "field", "type"))
}
