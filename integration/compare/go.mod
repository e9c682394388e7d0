module github.com/fieldseal/fieldseal/integration/compare

go 1.26.0

replace github.com/fieldseal/fieldseal => ../..

require (
	filippo.io/age v1.3.2
	github.com/fieldseal/fieldseal v0.0.0-00010101000000-000000000000
	github.com/go-jose/go-jose/v4 v4.1.8
)

require (
	filippo.io/hpke v0.4.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
